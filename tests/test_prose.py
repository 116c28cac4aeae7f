"""The search for words that the project gave up finds them, and says what to write instead."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from scripts import prose

if TYPE_CHECKING:
    from pathlib import Path

WORDS = (
    prose.Word(r"\bdoors?\b", "integration", {r"^docs/old\.md|a real door": "its own words"}),
    prose.Word(r"\bthe law\b", "an invariant of the integration"),
)


@pytest.mark.parametrize(
    ("path", "text", "lines"),
    [
        ("docs/a.md", "one\ntwo doors\n", ["docs/a.md:2: two doors"]),
        ("docs/a.md", "no newline, a door", ["docs/a.md:1: no newline, a door"]),
        ("docs/a.md", "outdoors\n", []),
        ("docs/a.md", "one\nit is the\nlaw here\n", ["docs/a.md:2: it is the law here"]),
        ("docs/a.md", "a real door\n", []),
        ("docs/old.md", "a door\n", []),
    ],
)
def test_a_hit_has_its_place_and_the_words_to_use(path: str, text: str, lines: list[str]) -> None:
    found = [message.splitlines() for message in prose.find({path: text}, WORDS)]
    assert [line for line, _ in found] == lines
    assert all("write instead of" in advice and "integration" in advice for _, advice in found)


def test_every_kind_of_text_is_searched_and_a_hit_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ("README.md", "Makefile", "docs/start/a.md", "src/a/b.py", ".github/workflows/ci.yml")
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("a door\n")
    (tmp_path / "docs" / "a.png").write_bytes(b"\x89a door")
    assert prose.main(tmp_path) == 1
    printed = capsys.readouterr().out
    assert [f"{name}:1: a door" in printed for name in names] == [True] * len(names)
    assert printed.splitlines()[-1] == f"words to replace: {len(names)}"


def test_text_without_such_words_passes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "README.md").write_text("Each integration adds `track()`.\n")
    assert prose.main(tmp_path) == 0
    assert capsys.readouterr().out == "words to replace: 0\n"


@pytest.mark.parametrize("word", prose.WORDS, ids=lambda word: word.instead)
def test_what_to_write_instead_is_itself_allowed(word: prose.Word) -> None:
    assert list(prose.find({"docs/a.md": word.instead}, [word])) == []
