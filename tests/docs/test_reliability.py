"""The page of scenarios and the scenarios are the same, and every test they name exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from scripts.reliability import HEAD, to_row, to_soak_lines
from scripts.scenarios import SCENARIOS

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "about" / "reliability.md").read_text(encoding="utf-8")
ROWS = [row for rows in SCENARIOS.values() for row in rows]


def test_the_page_has_the_scenarios_in_their_order() -> None:
    written = re.findall(r"^\| (.+?) \| (.+?) \| \[", PAGE, re.MULTILINE)
    assert written == [(row.name, row.promise) for row in ROWS]
    titles = re.findall(r"^## (.+)$", PAGE, re.MULTILINE)
    assert titles[: len(SCENARIOS)] == list(SCENARIOS)


def test_the_rest_of_the_page_is_as_the_script_writes_it() -> None:
    assert PAGE.startswith(HEAD)
    for row in ROWS:  # without the result
        assert to_row(row, {}).rpartition(" | ")[0] in PAGE
    soak = {"events": 1, "identifies": 0, "faults": {}, "requests": 1, "retries": 0}
    soak |= {"duplicates": 0, "pauses": 0, "lost": 0, "doubled": 0, "out_of_order": 0, "seeds": [1]}
    labels = [line.split("|")[1] for line in to_soak_lines(soak) if line.startswith("| ")]
    assert [f"|{label}|" for label in labels if f"|{label}|" not in PAGE] == []


def test_nothing_on_the_page_failed_or_did_not_run() -> None:
    assert "**did not run**" not in PAGE
    assert not re.search(r"\d failed", PAGE)
    assert "| **lost** | **0** |" in PAGE
    assert "| **duplicated** | **0** |" in PAGE


@pytest.mark.parametrize("test", sorted({test for row in ROWS for test in row.tests}))
def test_every_test_that_is_named_exists(test: str) -> None:
    path, *names = test.split("::")
    text = (ROOT / path).read_text(encoding="utf-8") if (ROOT / path).is_file() else ""
    assert text or (ROOT / path).is_dir()
    for name in names:
        assert re.search(rf"^ *(class|def|async def) {name}\b", text, re.MULTILINE), name
