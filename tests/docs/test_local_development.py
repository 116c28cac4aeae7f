"""docs/local-development.md holds: its code runs, its commands and filters are parsed."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.request import Request, urlopen

from whisperr._cli.local import DEFAULT_PORT
from whisperr._cli.main import make_parser
from whisperr.dev import LocalServer
from whisperr.dev._memory.filter import FIELDS, parse_filter
from whisperr.dev._memory.journal import _BOUND_BYTES

if TYPE_CHECKING:
    import pytest

PAGE = Path(__file__).resolve().parents[2] / "docs" / "local-development.md"
TEXT = PAGE.read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SCREENSHOTS = sorted((PAGE.parent / "screenshots").glob("*.png"))
MOST_BYTES = 150_000


def blocks(language: str) -> list[str]:
    return [text for kind, text in BLOCK.findall(TEXT) if kind == language]


def test_every_block_of_python_runs_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    names: dict[str, Any] = {}
    with LocalServer() as server:
        monkeypatch.setenv("WHISPERR_API_KEY", "wrk_docs")
        monkeypatch.setenv("WHISPERR_BASE_URL", server.url)
        for number, text in enumerate(blocks("python")):
            exec(compile(text, f"{PAGE.name}, block {number + 1}", "exec"), names)
        assert names["whisperr"].shutdown() is True
        assert [a.status for a in server.arrivals()] == ["accepted", "accepted"]
    assert len(blocks("python")) == 2


def test_every_call_of_the_command_is_understood() -> None:
    lines = [line for text in blocks("console") for line in text.splitlines()]
    calls = [shlex.split(line) for line in lines if line.startswith("whisperr ")]
    assert len(calls) == 10
    for call in calls:
        arguments = make_parser().parse_args(call[1:])
        parse_filter(" ".join(getattr(arguments, "filter", [])))
    assert f"http://127.0.0.1:{DEFAULT_PORT}" in TEXT


def test_every_term_of_the_table_is_in_the_grammar() -> None:
    rows = re.findall(r"^\| (`.*?) \|", TEXT, re.MULTILINE)
    terms = [term for row in rows for term in re.findall(r"`([^`]+)`", row)]
    assert len(terms) > 10
    for term in terms:
        parse_filter(term)
    assert {term.split(":")[0] for term in terms if ":" in term} == set(FIELDS)


def test_every_screenshot_is_there_and_small_and_shown() -> None:
    shown = set(re.findall(r"screenshots/[\w-]+\.png", TEXT))
    assert {f"screenshots/{path.name}" for path in SCREENSHOTS} == shown
    assert [path.name for path in SCREENSHOTS if path.stat().st_size > MOST_BYTES] == []


def test_the_figures_are_those_of_the_code() -> None:
    assert _BOUND_BYTES == 64 * 1024 * 1024
    assert "64 MiB and 10,000 events" in TEXT
    from inspect import signature

    assert signature(LocalServer).parameters["keep"].default == 10_000
    css = Path(PAGE.parents[1] / "src/whisperr/dev/_web/static/page.css").read_text(
        encoding="utf-8"
    )
    assert "min-width: 320px" in css
    assert "from 320 pixels on" in TEXT


def test_the_server_answers_the_requests_of_the_page() -> None:
    rows = re.findall(r"^\| (`GET.*?|`POST.*?) \| ", TEXT, re.MULTILINE)
    asked = [path for row in rows for path in re.findall(r"/_dev/\w+", row)]
    assert len(asked) == 7
    with LocalServer() as server:
        for path in asked:
            if path in {"/_dev/stream", "/_dev/reset"}:
                continue  # the one does not end, the other is a POST
            with urlopen(f"{server.url}{path}?timeout=0&count=0", timeout=30) as answer:
                assert answer.status == 200
        with urlopen(Request(f"{server.url}/_dev/reset", method="POST"), timeout=30) as answer:
            assert answer.status // 100 == 2
