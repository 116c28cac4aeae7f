"""docs/develop/local-server.md holds: its code runs, its commands and filters are parsed."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.dev.wire import call, post
from whisperr._cli.local import DEFAULT_PORT
from whisperr._cli.main import make_parser
from whisperr.dev import LocalServer
from whisperr.dev._memory.filter import FIELDS, parse_filter
from whisperr.dev._memory.journal import _BOUND_BYTES
from whisperr.dev._web.api import _PARSERS, _READS, _WRITES

if TYPE_CHECKING:
    import pytest

PAGE = Path(__file__).resolve().parents[2] / "docs" / "develop" / "local-server.md"
TEXT = PAGE.read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SCREENSHOTS = sorted((PAGE.parent / "screenshots").glob("*.png"))
MOST_BYTES = 150_000
STATIC = PAGE.parents[2] / "src" / "whisperr" / "dev" / "_web" / "static"


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
    for words in calls:
        arguments = make_parser().parse_args(words[1:])
        parse_filter(" ".join(getattr(arguments, "filter", [])))
    assert f"http://127.0.0.1:{DEFAULT_PORT}" in TEXT


def test_every_term_of_the_table_is_in_the_grammar() -> None:
    section = TEXT.partition("### The filter\n")[2].partition("\n### ")[0]
    rows = re.findall(r"^\| (`.*?) \|", section, re.MULTILINE)
    terms = [term for row in rows for term in re.findall(r"`([^`]+)`", row)]
    assert len(terms) > 10
    for term in terms:
        parse_filter(term)
    assert {term.split(":")[0] for term in terms if ":" in term} == set(FIELDS)


def test_the_table_of_the_api_has_every_call_and_every_parameter() -> None:
    section = TEXT.partition("## Over HTTP\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(\w+) /_dev/(\w+)` \| (.*?) \|", section, re.MULTILINE)
    calls = {(method, name) for method, name, _ in rows}
    expected = {("GET", name) for name in (*_READS, "stream")} | {("POST", "reset")}
    assert calls == expected
    assert set(_WRITES) == {"faults", "reset"}
    named = {word for _, _, cell in rows for word in re.findall(r"`(\w+)`", cell)}
    assert named == set(_PARSERS)


def test_the_fields_of_a_request_are_those_of_the_api() -> None:
    with LocalServer() as server:
        post(server, "/v1/identify", {"external_user_id": "u"})
        (request,) = call(server, "GET", "/_dev/requests")[1]["requests"]
    sentence = TEXT.partition("\nA request has ")[2].partition(". `limit`")[0]
    named = set(re.findall(r"`(\w+)`", sentence))
    assert named == set(request) - {"body", "connection", "method", "number", "path", "received_at"}


def test_every_screenshot_is_there_and_small_and_shown() -> None:
    shown = set(re.findall(r"screenshots/[\w-]+\.png", TEXT))
    assert {f"screenshots/{path.name}" for path in SCREENSHOTS} == shown
    assert [path.name for path in SCREENSHOTS if path.stat().st_size > MOST_BYTES] == []


def test_the_figures_are_those_of_the_code() -> None:
    assert _BOUND_BYTES == 64 * 1024 * 1024
    assert "64 MiB and 10,000 events" in TEXT
    from inspect import signature

    assert signature(LocalServer).parameters["keep"].default == 10_000
    css = (STATIC / "page.css").read_text(encoding="utf-8")
    assert "min-width: 320px" in css
    held = re.search(r"HELD = (\d+);", (STATIC / "memory.js").read_text(encoding="utf-8"))
    assert held
    assert f"the latest {int(held[1]):,} events and {int(held[1]):,} requests" in TEXT
    assert "from 320 pixels on" in TEXT
