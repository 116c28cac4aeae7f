"""The `whisperr` command: its parser, and how it starts and ends."""

from __future__ import annotations

import argparse
import io
import os
import sys
from typing import TYPE_CHECKING

from whisperr._version import __version__

from . import doctor, import_file, local, send
from .command import CommandError

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # "?" on a terminal whose encoding has no "✓"
    words = list(sys.argv[1:] if argv is None else argv)
    arguments = make_parser().parse_args(words)
    if words[:1] == ["dev"] and "--" in words:  # argparse would consume a second "--"
        arguments.command = words[words.index("--") + 1 :]
    try:
        return int(arguments.run(arguments))
    except CommandError as error:
        print(f"whisperr {arguments.name}: {' '.join(str(error).split())}", file=sys.stderr)
        return error.code
    except BrokenPipeError:  # `whisperr tail | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the flush at exit
        return 0


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
