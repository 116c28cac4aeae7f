"""The page's files, as the server sends them; its colours; its snippets."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import whisperr
from whisperr.dev import LocalServer

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = Path(whisperr.__file__).parent / "dev" / "_web" / "static"
FILES = sorted(path.name for path in PAGE.iterdir())
MAX_FILE_LINES = 400


@pytest.fixture(scope="module")
def server() -> Iterator[LocalServer]:
    with LocalServer() as started:
        yield started


def get(server: LocalServer, path: str) -> tuple[HTTPResponse, bytes]:
    connection = HTTPConnection("127.0.0.1", server.port, timeout=30)
    connection.request("GET", path)
    answer = connection.getresponse()
    data = answer.read()
    connection.close()
    return answer, data


class TestFiles:
    @pytest.mark.parametrize("name", FILES)
    def test_every_file_is_sent_with_the_strict_policy(
        self, server: LocalServer, name: str
    ) -> None:
        answer, data = get(server, f"/_dev/page/{name}")
        assert (answer.status, data) == (200, (PAGE / name).read_bytes())
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["X-Content-Type-Options"] == "nosniff"

    def test_the_page_is_at_the_root(self, server: LocalServer) -> None:
        answer, data = get(server, "/")
        assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
        assert data == (PAGE / "index.html").read_bytes()

    @pytest.mark.parametrize(
        "path", ["/_dev/page/", "/_dev/page/../page.py", "/_dev/page/%2e%2e/page.py", "/page.js"]
    )
    def test_nothing_else_is_sent(self, server: LocalServer, path: str) -> None:
        assert get(server, path)[0].status in {404, 405, 411}

    @pytest.mark.parametrize("name", FILES)
    def test_a_file_is_short_and_loads_nothing_from_elsewhere(self, name: str) -> None:
        text = (PAGE / name).read_text(encoding="utf-8")
        assert len(text.splitlines()) <= MAX_FILE_LINES
        addresses = set(re.findall(r"https?://[^\s\"'`<>]+", text))
        assert addresses <= {"http://www.w3.org/2000/svg", "http://127.0.0.1:8722"}

    @pytest.mark.parametrize("name", [name for name in FILES if name.endswith(".js")])
    def test_no_text_is_ever_parsed_as_markup(self, name: str) -> None:
        text = (PAGE / name).read_text(encoding="utf-8")
        assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(", text)

    def test_every_imported_module_exists(self) -> None:
        for path in PAGE.glob("*.js"):
            imported = re.findall(r'from "\./([\w.]+)"', path.read_text(encoding="utf-8"))
            assert set(imported) <= set(FILES)


def themes() -> dict[str, dict[str, str]]:
    """Return the colours of both themes by name, from the custom properties."""
    css = (PAGE / "page.css").read_text(encoding="utf-8")
    found = re.findall(r"--([\w-]+): light-dark\((#[0-9a-f]{6}), (#[0-9a-f]{6})\)", css)
    return {
        "light": {name: light for name, light, _ in found},
        "dark": {name: dark for name, _, dark in found},
    }


def luminance(colour: str) -> float:
    """Return the relative luminance as WCAG 2.2 defines it."""
    channels = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


INKS = ("text", "muted", "accent", "accepted", "refused", "duplicate")
GROUNDS = ("ground", "surface", "raised", "chosen")
TEXT_PAIRS = [
    *[(ink, ground) for ink in INKS for ground in GROUNDS],
    ("text", "wash"),
    ("refused", "wash"),
    ("on-accent", "accent"),
    ("ground", "text"),
]
PART_PAIRS = [("edge", "surface"), ("edge", "ground"), ("refused", "surface"), ("accent", "ground")]


class TestColours:
    def test_black_on_white_is_21(self) -> None:
        assert contrast("#000000", "#ffffff") == pytest.approx(21)

    @pytest.mark.parametrize("theme", ["light", "dark"])
    @pytest.mark.parametrize(("ink", "ground"), TEXT_PAIRS)
    def test_text_has_the_contrast_of_aa(self, theme: str, ink: str, ground: str) -> None:
        colours = themes()[theme]
        assert contrast(colours[ink], colours[ground]) >= 4.5

    @pytest.mark.parametrize("theme", ["light", "dark"])
    @pytest.mark.parametrize(("part", "ground"), PART_PAIRS)
    def test_parts_contrast_with_their_ground(self, theme: str, part: str, ground: str) -> None:
        colours = themes()[theme]
        assert contrast(colours[part], colours[ground]) >= 3

    def test_every_colour_is_in_the_themes(self) -> None:
        css = (PAGE / "page.css").read_text(encoding="utf-8")
        assert re.findall(r"#[0-9a-f]{3,8}\b", re.sub(r"light-dark\([^)]*\)", "", css)) == []


class _Snippets(HTMLParser):
    """Collects the text of each `pre` that is a snippet."""

    def __init__(self) -> None:
        super().__init__()
        self.found: dict[str, str] = {}
        self._name = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "pre" and given.get("class") == "snippet":
            self._name = given["id"] or ""

    def handle_endtag(self, tag: str) -> None:
        if tag == "pre":
            self._name = ""

    def handle_data(self, data: str) -> None:
        if self._name:
            self.found[self._name] = self.found.get(self._name, "") + data


def snippets() -> dict[str, str]:
    parser = _Snippets()
    parser.feed((PAGE / "index.html").read_text(encoding="utf-8"))
    return {name.removeprefix("snippet-"): text for name, text in parser.found.items()}


class TestSnippets:
    def test_there_is_one_for_each_framework_and_a_button_for_it(self) -> None:
        text = (PAGE / "index.html").read_text(encoding="utf-8")
        assert set(snippets()) == {"python", "django", "fastapi", "flask", "celery", "curl"}
        buttons = set(re.findall(r'data-snippet="snippet-(\w+)"', text))
        assert buttons == set(snippets())

    @pytest.mark.parametrize("name", sorted(set(snippets()) - {"curl"}))
    def test_python_is_python_and_sends_valid_names(self, name: str) -> None:
        text = snippets()[name]
        compile(text, name, "exec")
        for event_type in re.findall(r'track\([^"]*"(?:user_\d+", ")?(\w+)"', text):
            assert re.fullmatch(r"[a-z0-9]+(_[a-z0-9]+)*", event_type)
        assert "Whisperr()" in text

    def test_the_python_snippet_runs(
        self, server: LocalServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("WHISPERR_BASE_URL", server.url)
        monkeypatch.setenv("WHISPERR_API_KEY", "wrk_dev")
        names: dict[str, object] = {}
        exec(snippets()["python"], names)
        client = names["whisperr"]
        assert isinstance(client, whisperr.Whisperr)
        assert client.shutdown() is True
        assert [a.status for a in server.arrivals(user="user_8842")] == ["accepted"]

    def test_the_steps_are_those_of_the_quick_start_of_the_readme(self) -> None:
        page = re.sub(r"<[^>]+>", "", (PAGE / "index.html").read_text(encoding="utf-8"))
        readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
        steps = ("pip install whisperr", snippets()["python"], "whisperr dev -- python app.py")
        for text in (page, readme.partition("## Quick start")[2]):
            assert all(step in text for step in steps)
            assert sorted(steps, key=text.index) == list(steps)
