"""Every link of the documentation leads to a file and a heading that exist."""

from __future__ import annotations

import re

import pytest

from tests.docs.page import PAGES, ROOT, get_text


def get_anchors(text: str) -> set[str]:
    prose = re.sub(r"^(```+).*?^\1", "", text, flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", prose, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title).strip().lower().replace(" ", "-") for title in headings}


@pytest.mark.parametrize("page", PAGES)
def test_every_link_of_a_page_leads_somewhere(page: str) -> None:
    for target, anchor in re.findall(r"\]\(([^)#:]*)(?:#([^)]+))?\)", get_text(page)):
        path = (ROOT / page).parent / target if target else ROOT / page
        assert path.exists(), target
        if anchor:
            assert anchor in get_anchors(path.read_text(encoding="utf-8")), (target, anchor)


@pytest.mark.parametrize("page", PAGES)
def test_no_link_is_named_by_a_file(page: str) -> None:
    assert re.findall(r"\[([^]\n]*\.md)`?\]\(", get_text(page)) == []


def test_every_page_can_be_reached_from_the_readme() -> None:
    reached: set[str] = set()
    found = {"README.md"}
    while found:
        page = found.pop()
        reached.add(page)
        for target in re.findall(r"\]\(([^)#:]+\.md)[)#]", get_text(page)):
            path = ((ROOT / page).parent / target).resolve().relative_to(ROOT).as_posix()
            found |= {path} - reached
    assert reached == set(PAGES) - {"docs/404.md"}
