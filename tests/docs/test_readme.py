"""README.md holds: its code runs, its tables and figures are those of the code.

Other pages that repeat the figures of waits are compared here as well.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import threading
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from tests.docs.page import ROOT, get_blocks, get_text
from whisperr import Whisperr
from whisperr._cli.main import make_parser
from whisperr._delivery.accounting import _DROPPED, _NEVER_ACCEPTED
from whisperr._delivery.backoff import get_backoff, get_pause, parse_retry_after
from whisperr._delivery.scheduler import _PACE
from whisperr._delivery.thread import THREAD_NAME
from whisperr._options import OPTIONS
from whisperr.dev import LocalServer
from whisperr.testing import MemoryTransport

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from whisperr import WhisperrError
    from whisperr._delivery.backoff import Random

README = get_text("README.md")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalServer]:
    with LocalServer() as started:
        monkeypatch.setenv("WHISPERR_API_KEY", "wrk_readme")
        monkeypatch.setenv("WHISPERR_BASE_URL", started.url)
        yield started


def test_every_block_of_python_runs_in_order(
    server: LocalServer, capsys: pytest.CaptureFixture[str]
) -> None:
    names: dict[str, Any] = {"__name__": "readme", "save": list}
    clients: list[Whisperr] = []
    for number, text in enumerate(get_blocks("README.md", "python")):
        exec(compile(text, f"README.md, block {number + 1}", "exec"), names)
        if not clients:  # the quick start shuts its client down; what follows uses another one
            names["whisperr"].shutdown()
            names["whisperr"] = Whisperr()
        # Blocks put clients in the place of earlier ones, which PyPy would collect much later.
        made = [names[name] for name in ("whisperr", "strict") if name in names]
        clients += [one for one in made if one not in clients]
    names["handler"]({"user": "user_8842"}, None)
    assert len(clients) == 3
    for one in clients:
        assert one.shutdown() is True
    refused = "external_user_id: must be a string or have a string form, got None\n"
    assert capsys.readouterr().out == refused
    assert [a.problems for a in server.arrivals(status="refused")] == []
    sent = {arrival.type for arrival in server.arrivals(kind="event")}
    assert {"payment_failed", "seat_removed", "membership_ended", "report_failed"} <= sent
    assert len(server.arrivals(kind="identify")) == 2


def test_the_options_table_is_the_one_of_the_code() -> None:
    command = [sys.executable, "scripts/options_table.py", "--check"]
    assert subprocess.run(command, cwd=ROOT, timeout=60, check=False).returncode == 0
    assert README.count("| `api_key` |") == 1
    assert all(f"| `{option.name}` |" in README for option in OPTIONS)


def test_the_table_of_losses_has_every_reason_that_is_reported() -> None:
    listed = set(re.findall(r"^\| `dropped` \| `(\w+)`", README, re.MULTILINE))
    assert listed == {*_DROPPED, *_NEVER_ACCEPTED} - {"vetoed"}  # which the caller wanted


def test_every_call_of_the_command_is_understood() -> None:
    lines = [line for text in get_blocks("README.md", "console") for line in text.splitlines()]
    calls = [shlex.split(line, comments=True) for line in lines if line.startswith("whisperr ")]
    assert len(calls) >= 4
    for call in calls:
        make_parser().parse_args(call[1:])
    for option in re.findall(r"--[a-z][a-z-]+", README):
        assert option in _parser_help()


def _parser_help() -> str:
    commands = next(a for a in make_parser()._actions if a.choices is not None)
    choices: Any = commands.choices
    return "".join(parser.format_help() for parser in choices.values())


def test_on_error_runs_in_the_threads_that_the_page_names() -> None:
    threads: list[str] = []
    called = threading.Event()

    def report(error: WhisperrError) -> None:
        threads.append(threading.current_thread().name)
        called.set()

    client = Whisperr("wrk_readme", transport=MemoryTransport(), on_error=report)
    client.track("ada", "Not Snake Case")
    assert called.wait(60)
    assert threads == [THREAD_NAME]
    client.shutdown()
    client.track("ada", "seen")
    assert threads == [THREAD_NAME, threading.current_thread().name]


def to_range(get_seconds: Callable[[Random], float]) -> str:
    """Return the least and the most of a wait, as a page says it."""
    return f"{get_seconds(lambda: 0.0):g} to {get_seconds(lambda: 1.0):g}"


FIRST, SECOND, THIRD = (to_range(partial(get_backoff, failures)) for failures in (1, 2, 3))
MOST = [f"{get_backoff(failures, lambda: 1.0):g}" for failures in (1, 2, 3, 50)]
MOST_ASKED = f"{parse_retry_after('900', 0.0):g}"
EXHAUSTED, AUTH = (to_range(partial(get_pause, kind)) for kind in ("retry_exhausted", "auth"))
LONGEST_PAUSE = f"{get_pause('retry_exhausted', lambda: 1.0):g}"
# What each page says about waits, with the figures of the code.
FIGURES = {
    "README.md": [
        f"after {FIRST}, {SECOND}, {THIRD} … up to {MOST[-1]} seconds",
        f"the time of `Retry-After`, up to {MOST_ASKED} seconds",
        f"delivery pauses: {EXHAUSTED} seconds, or {AUTH} for a refused key",
    ],
    "docs/glossary.md": [
        f"{FIRST} second, then {SECOND}, up to {MOST[-1]}.",
        f"after a *give-up*: {EXHAUSTED} seconds, or {AUTH} for a refused key",
        f"the *hold* of {_PACE * 1000:g} ms after a request",
        f"asks for in its answer, at most {MOST_ASKED} seconds",
    ],
    "docs/operations.md": [
        f"(seconds of outage + {LONGEST_PAUSE})",
        f"The {LONGEST_PAUSE} seconds are the pause after giving up",
        f"each wait is between half and all of {', '.join(MOST[:3])} … {MOST[-1]} seconds",
        f"a process pauses for {EXHAUSTED} seconds",
        f"the first retries come after {FIRST}, {SECOND} and {THIRD} seconds",
    ],
}


@pytest.mark.parametrize("page", FIGURES)
def test_the_figures_of_waits_and_pauses_are_those_of_the_code(page: str) -> None:
    text = " ".join(get_text(page).split())
    assert [sentence for sentence in FIGURES[page] if sentence not in text] == []
