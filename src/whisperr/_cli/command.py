"""Code that the commands share: adding them to the parser, their errors, and their client.

The key comes only from the environment, because every user of a machine can see the arguments of a
process.
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
_ALIKE = 0.7  # similarity of two words, 0 to 1: that of "--dryrun" is above it, "--amount" below
_NO_KEY = "wrk_not_sent"
_DOCTOR = 'run "whisperr doctor"'
_HINTS = {
    "auth": "check WHISPERR_API_KEY",
    "delayed": _DOCTOR,
    "dropped": "correct the event and send it again",
    "retry_exhausted": _DOCTOR,
}
# Seconds after which a command reports what it waits for: longer than a restart or a lost request
# takes.
_PATIENCE = 3.0


class CommandError(Exception):
    """Ends a command with exit code 1. Its text, one line, says what is wrong."""

    code = 1


class UsageError(CommandError):
    """Ends a command with exit code 2: wrong arguments. The text says what to do."""

    code = 2


class Interrupted(CommandError):  # noqa: N818  # of the user, not of the program
    """Ends a command with exit code 130: Ctrl-C. The text says what was sent and how to go on."""

    code = 130  # what a shell reports for a command that Ctrl-C ended


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors suggest what to write."""

    def check_command(self, words: Sequence[str], commands: Iterable[str]) -> None:
        """End with an error unless the first word that is not an option is a command."""
        known = list(commands)
        first = next((word for word in words if not word.startswith("-")), None)
        if first is None and not words:
            self.error(f"which command? {', '.join(known)}; whisperr --help describes them")
        if first is not None and first not in known:
            near = suggest(first, (*known, "--help", "--version"))
            shown = printable(first, _MAX_SHOWN_CHARS)
            self.error(f"'{shown}' is not a command{near}; the commands are {', '.join(known)}")

    def refuse(self, words: Sequence[str], hint: str = "") -> NoReturn:
        """End with an error about words that no argument takes."""
        word = words[0]
        shown = printable(word, _MAX_SHOWN_CHARS)
        if not word.startswith("-"):
            self.error(f"unexpected argument '{shown}'{hint}")
        near = suggest(word.partition("=")[0], self._option_string_actions)
        self.error(f"unknown option {shown}{near or hint}; see {self.prog} --help")


class _RefuseTest(argparse.Action):
    """Ends an identify that asks to be marked as a test, which would change production data."""

    def __init__(self, option_strings: Sequence[str], dest: str, **more: Any) -> None:  # noqa: ANN401  # those of argparse
        super().__init__(option_strings, dest, nargs=0, default=False, **more)

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        parser.error(
            "--test: an identify cannot be marked as a test, because the service stores its data "
            "in either mode; leave out --test, and use a user of your own"
        )


def suggest(word: str, known: Iterable[str]) -> str:
    """Return " (did you mean ...?)" with the word that is most like this one; "" if none is."""
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

    - `run`: returns the exit code. `usage`: what follows the name of the command.
    - `examples`: lines with calls, each followed by a line that says what it does.
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


def add_sending_options(
    parser: argparse.ArgumentParser,
    test_help: str = "mark the event as a test, which affects no production data",
) -> None:
    """Add the options of the commands that send; `test_help`: the help of --test, "": none."""
    parser.add_argument(
        "--base-url",
        metavar="URL",
        help="where to send (default: WHISPERR_BASE_URL, else the service)",
    )
    if test_help:
        parser.add_argument("--test", action="store_true", help=test_help)
    else:
        parser.add_argument("--test", action=_RefuseTest, help=argparse.SUPPRESS)


def join_words(arguments: argparse.Namespace, *more: str, without: str = "") -> str:
    """Return the command line of these arguments with more words, quoted for a shell."""
    words = [word for word in arguments.line if word != without]
    return printable(shlex.join(["whisperr", *words, *more]))


def format_count(number: int, noun: str) -> str:
    """Return a number with its noun: "1 event", "1,200 events"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def to_float(text: str) -> float:
    """Return the number of a text, or -1, which every option here refuses."""
    try:
        return float(text)
    except ValueError:
        return -1.0


class Sender:
    """A strict client without logging, and the errors that it reported.

    It ignores WHISPERR_BUFFER and holds its events in memory: a command waits for the delivery
    itself, and must not send events that an application has stored. With a `transport` it needs no
    key. Raises UsageError for a wrong configuration.
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
                "no key: set WHISPERR_API_KEY to your server key (wrk_...); to try without a key, "
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
        """Deliver what was accepted; return False if that fails or takes too long.

        A slow delivery is reported once, with the reason and the time limit. Without a timeout, the
        number of retries is the limit.
        """
        began = time.monotonic()
        if self.client.flush(_PATIENCE if timeout is None else min(_PATIENCE, timeout)):
            return True
        stats = self.client.stats()
        if stats.state != "running" or (timeout is not None and timeout <= _PATIENCE):
            return False
        problem = stats.problem or f"no answer within {_PATIENCE:.0f} s"
        if problem not in self._reported:  # every chunk of an import may be slow
            self._reported.add(problem)
            limit = "one or two minutes" if timeout is None else f"up to {timeout:g} s"
            report(f"{problem}; trying again for {limit}; Ctrl-C stops")
        spent = time.monotonic() - began
        return self.client.flush(None if timeout is None else max(timeout - spent, 0.0))

    def describe_failure(self, default: str) -> str:
        """Return why something was not delivered, and what to do."""
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
