"""README.md is short, its commands are understood, and its figures are those of the code.

`test_pasted.py` runs its code. Other pages with the figures of waits are compared here as well.
"""

from __future__ import annotations

import re
import shlex
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from tests.docs.page import PAGES, get_blocks, get_text
from whisperr._cli.main import make_parser
from whisperr._delivery.backoff import get_backoff, get_pause, parse_retry_after
from whisperr._delivery.scheduler import _PACE

if TYPE_CHECKING:
    from collections.abc import Callable

    from whisperr._delivery.backoff import Random

README = get_text("README.md")
LONGEST = 120  # lines: what does not fit has a page of its own
# Pages whose commands no other test reads.
COMMANDS = ["README.md", *(page for page in PAGES if page.endswith(("options.md", "proxies.md")))]
COMMANDS += ["docs/start/quickstart.md"]


def test_it_is_short() -> None:
    assert len(README.splitlines()) <= LONGEST


def test_extras_are_quoted_because_shells_know_brackets() -> None:
    pages = {page: get_text(page) for page in PAGES}
    found = re.findall(r"pip install .*?whisperr\[", "".join(pages.values()))
    assert len(found) > 3
    assert {text for text in found if "'whisperr[" not in text} == set()


@pytest.mark.parametrize("page", COMMANDS)
def test_every_call_of_the_command_is_understood(page: str) -> None:
    lines = [line for text in get_blocks(page, "console") for line in text.splitlines()]
    calls = [shlex.split(line, comments=True) for line in lines]
    assert calls
    for call in calls:
        if call[:1] == ["whisperr"]:
            make_parser().parse_args(call[1:])
    for option in re.findall(r"--[a-z][a-z-]+", get_text(page)):
        assert option in _parser_help()


def _parser_help() -> str:
    commands = next(a for a in make_parser()._actions if a.choices is not None)
    choices: Any = commands.choices
    return "".join(parser.format_help() for parser in choices.values())


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
    "docs/delivery/promises.md": [
        f"{FIRST} second, then {SECOND}, {THIRD}, up to {MOST[-1]} seconds",
        f"the time of `Retry-After` up to {MOST_ASKED} seconds",
        f"delivery pauses: {EXHAUSTED} seconds, or {AUTH} for a refused key",
    ],
    "docs/reference/glossary.md": [
        f"{FIRST} second, then {SECOND}, up to {MOST[-1]}.",
        f"after a *give-up*: {EXHAUSTED} seconds, or {AUTH} for a refused key",
        f"the *hold* of {_PACE * 1000:g} ms after a request",
        f"asks for in its answer, at most {MOST_ASKED} seconds",
    ],
    "docs/delivery/operations.md": [
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
