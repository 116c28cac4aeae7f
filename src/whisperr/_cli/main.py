"""The `whisperr` command: how it starts and ends.

This module imports very little. It imports the commands only after it can catch an interrupt, so
that Ctrl-C never shows a traceback.
"""

from __future__ import annotations

import io
import os
import sys

from whisperr._platform import is_closed_pipe

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence
    from types import FrameType
    from typing import NoReturn

    from .command import Parser

_INTERRUPTED = 130  # what a shell reports for a command that Ctrl-C ended
_IMPORTING = ["events"]  # the command that imports modules of the application
_HINTS = {
    "track": "; properties are written as key=value",
    "identify": "; traits are written as --trait key=value",
    "doctor": "; an address is written --base-url URL",
    "dev": "; options of a command follow its name, as in: whisperr dev -- python app.py --debug",
    **{
        f"dead-letters {action}": "; a filter that begins with - is written after --"
        for action in ("list", "show", "replay", "drop")
    },
    "tail": "; it always follows; a filter that begins with - is written after --",
}
_EPILOG = """\
examples:
  whisperr dev -- python app.py
      run a program, and show what it sends; needs no key
  whisperr track user_8842 payment_failed amount_cents=4900
      send one event to the service, with the key in WHISPERR_API_KEY
  whisperr doctor
      find out why nothing arrives

exit status: 0 success; 1 something was not delivered or is wrong; 2 wrong arguments;
130 Ctrl-C. "whisperr COMMAND --help" describes a command.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; without `argv`, the command of this process."""
    words = list(sys.argv[1:] if argv is None else argv)
    catches = False
    try:
        catches = argv is None and _catch_interrupt()
        _open_streams()
        is_last = argv is None and words[:1] == _IMPORTING
        return _end_at_once(_run(words)) if is_last else _run(words)
    except BrokenPipeError:  # `whisperr tail | head`
        _discard_output()
        return 0
    except KeyboardInterrupt:
        _print_error(" ".join(["whisperr", *words[:1]]) + ": interrupted")
        return _INTERRUPTED
    finally:
        if catches:  # what follows is the end of the interpreter
            _end_at_interrupt()


def _run(words: list[str]) -> int:
    from .command import CommandError

    name = "whisperr"
    try:
        try:
            arguments = _parse(words)
        finally:
            sys.stdout.flush()  # help, before argparse ends the process
        name = f"whisperr {arguments.name}"
        code = int(arguments.run(arguments))
        sys.stdout.flush()  # here, so that a full disk is an error of the command
    except CommandError as error:
        _print_error(f"{name}: {' '.join(str(error).split())}")
        return error.code
    except OSError as error:  # such as a standard output on a full disk
        if is_closed_pipe(error):
            raise BrokenPipeError from error
        _discard_output()
        _print_error(f"{name}: {error}")
        return 1
    return code


def _parse(words: list[str]) -> argparse.Namespace:
    """Return the arguments; wrong ones end the process with 2 and an error message."""
    parser, commands = _make_parsers()
    parser.check_command(words, commands)
    arguments, rest = parser.parse_known_args(words)
    if "name" not in arguments:  # options only
        parser.refuse(rest or words)
    arguments.line = words
    if rest and "rest_to" in arguments and not any(word.startswith("-") for word in rest):
        getattr(arguments, arguments.rest_to).extend(rest)  # words after an option
    elif rest:
        arguments.parser.refuse(rest, _HINTS.get(arguments.name, ""))
    return arguments


def _catch_interrupt() -> bool:
    """Make the first Ctrl-C raise KeyboardInterrupt, and a second one end the process at once.

    Returns False, and changes nothing, if this process ignores Ctrl-C.
    """
    import signal

    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        return False

    def interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
        _end_at_interrupt()
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, interrupt)
    return True


def _end_at_interrupt() -> None:
    import signal

    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _end_at_once(code: int) -> NoReturn:
    """End the process without the threads and exit functions of the modules that were imported.

    A thread, as of a scheduler, may never end; an exit function may print, after the list.
    """
    sys.stderr.flush()
    os._exit(code)


def _open_streams() -> None:
    """Open the null device for each standard stream that is closed (`whisperr doctor >&-`).

    Otherwise Python has None in its place, and the next file that is opened gets its descriptor.
    """
    for number, (name, mode) in enumerate({"stdin": "r", "stdout": "w", "stderr": "w"}.items()):
        if getattr(sys, name) is None:
            try:  # the lowest free number, which is this one
                opened = os.open(os.devnull, os.O_RDWR)
                setattr(sys, name, os.fdopen(opened, mode, closefd=opened != number))
            except OSError:
                continue
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # "?" on a terminal whose encoding has no "✓"


def _print_error(text: str) -> None:
    from whisperr._foreign import printable

    try:
        print(printable(text), file=sys.stderr, flush=True)
    except OSError:  # stderr may be closed as well
        return


def _discard_output() -> None:
    """Discard the buffer of stdout, which the interpreter would flush at its end."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError):  # a stdout of tests, which has no descriptor
        return


def make_parser() -> Parser:
    """Return the parser; each command sets its `name` and `run`, which returns the exit code."""
    return _make_parsers()[0]


def _make_parsers() -> tuple[Parser, list[str]]:
    """Return the parser and the names of its commands."""
    from argparse import RawDescriptionHelpFormatter

    from whisperr._version import __version__

    from . import dead_letters, doctor, events, import_file, local, outbox, relay, send
    from .command import Parser

    parser = Parser(
        prog="whisperr",
        description="Send events to Whisperr, and find out what happened to them.",
        epilog=_EPILOG,
        formatter_class=RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"whisperr {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    for module in (local, send, import_file, events, doctor, dead_letters, relay, outbox):
        module.add_to(commands)
    return parser, list(commands.choices)
