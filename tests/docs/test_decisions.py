"""docs/about/decisions: every decision has a date, a context, a decision and consequences."""

from __future__ import annotations

import re

import pytest

from tests.docs.page import ROOT, get_text

FOLDER = ROOT / "docs" / "about" / "decisions"
PAGES = sorted(path.name for path in FOLDER.glob("*.md") if path.name != "index.md")
PARTS = ("**Context**: ", "**Decision**: ", "**Consequences**: ")


def get_decisions(page: str) -> list[str]:
    return re.split(r"^## ", get_text(f"docs/about/decisions/{page}"), flags=re.MULTILINE)[1:]


def test_the_index_names_every_page() -> None:
    assert re.findall(r"^\| \[([\w.]+)\]", get_text("docs/about/decisions/index.md"), re.MULTILINE)
    linked = set(re.findall(r"\]\((\w+\.md)\)", get_text("docs/about/decisions/index.md")))
    assert linked == set(PAGES)


@pytest.mark.parametrize("page", PAGES)
def test_every_decision_has_its_date_and_its_parts(page: str) -> None:
    decisions = get_decisions(page)
    assert decisions
    for text in decisions:
        title, date, *_ = text.split("\n\n")
        assert re.match(r"\d{4}-\d\d-\d\d\b", date), title
        assert [part for part in PARTS if f"\n- {part}" in text] == list(PARTS), title


def test_a_superseded_decision_names_its_successor() -> None:
    decisions = [text for page in PAGES for text in get_decisions(page)]
    titles = {text.split("\n", 1)[0] for text in decisions}
    assert len(titles) == len(decisions)
    for text in decisions:
        for successor in re.findall(r"superseded [\d-]+ by \"(.+?)\"", text):
            assert successor in titles
