"""What the commands share: how they are added to the parser, their errors, and their client.

The key is read from the environment only: the arguments of a process are visible to every user of
the machine.
"""

from __future__ import annotations

import argparse
import logging
import os
import shlex
import sys
import time
import warnings
from difflib import get_close_matches
from textwrap import fill
from typing import TYPE_CHECKING, Any

from whisperr import Whisperr
from whisperr._contract import BASE_URL
from whisperr._foreign import printable
from whisperr._options import get_base_url

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import NoReturn

    from whisperr import WhisperrError

MAX_SECONDS = 3600  # an hour
_HELP_WIDTH = 80
_MAX_SHOWN_CHARS = 60
_ALIKE = 0.7  # of two words, from 0 to 1: "--dryrun" is, "--amount" and "--timeout" are not
_NO_KEY = "wrk_not_sent"
_DOCTOR = 'run "whisperr doctor"'
_HINTS = {
    "auth": "check WHISPERR_API_KEY",
    "delayed": _DOCTOR,
    "dropped": "correct the event and send it again",
    "retry_exhausted": _DOCTOR,
}
# Seconds without an outcome after which a command says what it waits for. Restarts and lost
# requests are over before that.
_PATIENCE = 3.0


class CommandError(Exception):
    """Ends a command with exit code 1. Its text is printed as one line: what is wrong."""

    code = 1


class UsageError(CommandError):
    """A call that cannot be carried out: the text says what to do; the exit code is 2."""

    code = 2


class Interrupted(CommandError):  # noqa: N818  # of the user, not of the program
    """Ctrl-C: the text says what was sent and how to go on; the exit code is 130."""

    code = 130  # what a shell reports for a command that Ctrl-C ended


class Parser(argparse.ArgumentParser):
    """A parser that says what would be right, for itself and for the parsers of its commands."""

    def check_command(self, words: Sequence[str], commands: Iterable[str]) -> None:
        """End with an error unless the first word that is no option is a command."""
        known = list(commands)
        first = next((word for word in words if not word.startswith("-")), None)
        if first is None and not words:
            self.error(f"which command? {', '.join(known)}; whisperr --help describes them")
        if first is not None and first not in known:
            near = _suggest(first, (*known, "--help", "--version"))
            shown = printable(first, _MAX_SHOWN_CHARS)
            self.error(f"'{shown}' is no command{near}; there are {', '.join(known)}")

    def refuse(self, words: Sequence[str], hint: str = "") -> NoReturn:
        """End with an error about words that no argument takes."""
        word = words[0]
        shown = printable(word, _MAX_SHOWN_CHARS)
        if not word.startswith("-"):
            self.error(f"'{shown}' is one argument too many{hint}")
        near = _suggest(word.partition("=")[0], self._option_string_actions)
        self.error(f"there is no option {shown}{near or hint}; see {self.prog} --help")


def _suggest(word: str, known: Iterable[str]) -> str:
    bare = {one.strip("-"): one for one in known}
    found = get_close_matches(word.strip("-"), bare, n=1, cutoff=_ALIKE)
    return f" (did you mean {bare[found[0]]}?)" if found else ""


def add_command(
    commands: argparse._SubParsersAction[Parser],
    name: str,
    run: Callable[[argparse.Namespace], int],
    summary: str,
    description: str,
    examples: str,
    *,
    usage: str,
) -> Parser:
    """Add a command.

    `run` returns its exit code, `usage` is what follows its name, `examples` has calls and what
    they do.
    """
    command = commands.add_parser(
        name,
        help=summary,
        usage=f"whisperr {name} [options] {usage}".rstrip(),
        description=fill(description, _HELP_WIDTH),
        epilog=f"examples:\n{examples}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.set_defaults(run=run, name=name, parser=command)
    return command


def add_sending_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of every command that sends events."""
    parser.add_argument(
        "--base-url", metavar="URL", help="where to send; else WHISPERR_BASE_URL, else the service"
    )
    parser.add_argument(
        "--test", action="store_true", help="mark it as a test that changes no production data"
    )


def join_words(arguments: argparse.Namespace, *more: str, without: str = "") -> str:
    """Return the command line of these arguments, with more words, as a shell reads it."""
    words = [word for word in arguments.line if word != without]
    return printable(shlex.join(["whisperr", *words, *more]))


def format_count(number: int, noun: str) -> str:
    """Return a number with its noun: "1 event", "1,200 events"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def to_float(text: str) -> float:
    """Return a number; -1, which is out of every range here, for any other text."""
    try:
        return float(text)
    except ValueError:
        return -1.0


class Sender:
    """A strict client without logging, and the errors it reported.

    It keeps its events in memory, whatever WHISPERR_BUFFER says: a command waits for the delivery
    itself, and what an application keeps in its store is for the application to send. With a
    `transport` it needs no key. Raises UsageError for a wrong configuration.
    """

    def __init__(self, arguments: argparse.Namespace, **options: Any) -> None:  # noqa: ANN401  # those of Whisperr
        self.errors: list[WhisperrError] = []
        self._reported: set[str] = set()
        self._base_url = get_base_url(arguments.base_url or BASE_URL)
        logger = logging.getLogger("whisperr")
        if not logger.handlers:
            logger.addHandler(logging.NullHandler())
        if not os.environ.get("WHISPERR_API_KEY", "").strip() and "transport" not in options:
            raise UsageError(
                "no key: set WHISPERR_API_KEY to your server key (wrk_...); to try it without one, "
                f"run it in a local server: whisperr dev -- {join_words(arguments)}"
            )
        buffer = os.environ.pop("WHISPERR_BUFFER", None)
        try:
            self.client = self._make_client(arguments, options)
        finally:
            if buffer is not None:
                os.environ["WHISPERR_BUFFER"] = buffer
        if not self.client.enabled:
            raise UsageError("WHISPERR_DISABLED is set, so nothing would be sent: unset it")

    def _make_client(self, arguments: argparse.Namespace, options: dict[str, Any]) -> Whisperr:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                client = Whisperr(
                    _NO_KEY if "transport" in options else None,
                    base_url=arguments.base_url or BASE_URL,
                    test_mode=arguments.test,
                    strict=True,
                    on_error=self.errors.append,
                    **options,
                )
            except ValueError as error:
                raise UsageError(str(error)) from None
        for warning in caught:
            print(f"whisperr: {warning.message}", file=sys.stderr)
        return client

    def flush(self, timeout: float | None, report: Callable[[str], None]) -> bool:
        """Deliver what was accepted; False when it cannot be delivered within the time.

        What takes long is reported once, with why, and until when it is tried. Without a timeout
        the retries bound it.
        """
        began = time.monotonic()
        if self.client.flush(_PATIENCE if timeout is None else min(_PATIENCE, timeout)):
            return True
        stats = self.client.stats()
        if stats.state != "running" or (timeout is not None and timeout <= _PATIENCE):
            return False
        problem = stats.problem or f"no answer within {_PATIENCE:.0f} s"
        if problem not in self._reported:  # of an import every chunk may be slow
            self._reported.add(problem)
            limit = "one or two minutes" if timeout is None else f"up to {timeout:g} s"
            report(f"{problem}; trying again for {limit}; Ctrl-C stops")
        spent = time.monotonic() - began
        return self.client.flush(None if timeout is None else max(timeout - spent, 0.0))

    def describe_failure(self, default: str) -> str:
        """Return why something was not delivered, and what to do about it."""
        latest = self.errors[-1] if self.errors else None
        reason = self.client.stats().problem or (latest.message if latest else default)
        hint = _HINTS[latest.type if latest else "retry_exhausted"]
        if latest and "base_url" in latest.message:  # such as a path that is not there
            hint = f"correct WHISPERR_BASE_URL or --base-url, now {self._base_url}; {_DOCTOR}"
        named = "whisperr doctor" in reason  # by the report itself
        return reason if named else f"{reason}; {hint}"

    def deliver(self, timeout: float, report: Callable[[str], None]) -> float:
        """Deliver, shut down and return the seconds it took; raises CommandError for a failure."""
        began = time.monotonic()
        self.flush(timeout, report)
        stats = self.client.stats()
        spent = time.monotonic() - began
        failure = self.describe_failure(f"no answer within {spent:.0f} s")
        self.client.shutdown(0)
        if stats.delivered != stats.accepted:
            raise CommandError(f"not delivered: {failure}")
        return spent
