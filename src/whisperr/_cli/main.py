"""The `whisperr` command: its parser, and how it starts and ends."""

from __future__ import annotations

import argparse
import io
import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from whisperr._foreign import printable
from whisperr._version import __version__

from . import doctor, import_file, local, send
from .command import CommandError

if TYPE_CHECKING:
    from collections.abc import Sequence

_INTERRUPTED = 130  # what a shell reports for a command that Ctrl-C ended


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code."""
    _open_missing_streams()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # "?" on a terminal whose encoding has no "✓"
    words = list(sys.argv[1:] if argv is None else argv)
    name = "whisperr"
    try:
        try:
            arguments = make_parser().parse_args(words)
        finally:
            sys.stdout.flush()  # help, before argparse ends the process
        if words[:1] == ["dev"] and "--" in words:  # argparse would consume a second "--"
            arguments.command = words[words.index("--") + 1 :]
        name = f"whisperr {arguments.name}"
        code = int(arguments.run(arguments))
        sys.stdout.flush()  # here, so that a full disk is an error of the command
    except CommandError as error:
        _print_error(f"{name}: {' '.join(str(error).split())}")
        return error.code
    except BrokenPipeError:  # `whisperr tail | head`
        _discard_output()
        return 0
    except KeyboardInterrupt:
        _print_error(f"{name}: interrupted")
        return _INTERRUPTED
    except OSError as error:  # such as a standard output on a full disk
        _discard_output()
        _print_error(f"{name}: {error}")
        return 1
    return code


def _open_missing_streams() -> None:
    """Open the null device for each standard stream that is closed (`whisperr doctor >&-`).

    Without one, Python has None in its place, and the next file that is opened gets its number.
    """
    for number, (name, mode) in enumerate({"stdin": "r", "stdout": "w", "stderr": "w"}.items()):
        if getattr(sys, name) is None:
            with suppress(OSError):  # the lowest free number, which is this one
                opened = os.open(os.devnull, os.O_RDWR)
                setattr(sys, name, os.fdopen(opened, mode, closefd=opened != number))


def _print_error(text: str) -> None:
    with suppress(OSError):  # stderr may be closed as well
        print(printable(text), file=sys.stderr, flush=True)


def _discard_output() -> None:
    """Send what is still buffered for stdout nowhere: the interpreter flushes it at its end."""
    with suppress(OSError, ValueError):  # a stdout of tests, which has no descriptor
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def make_parser() -> argparse.ArgumentParser:
    """Return the parser; each command sets its `name` and `run`, which returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="whisperr", description="Tools for the development and operation of whisperr."
    )
    parser.add_argument("--version", action="version", version=f"whisperr {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for module in (local, send, import_file, doctor):
        module.add_to(commands)
    return parser
