"""Every table of the documentation is one: each row has as many cells as its head."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.docs.page import PAGES, get_text

if TYPE_CHECKING:
    from collections.abc import Iterator

_CODE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_DIVIDER = re.compile(r"\|(?: *:?-+:? *\|)+")


def get_tables(page: str) -> Iterator[list[str]]:
    """Yield the lines of each table: neighbours that begin with a bar, outside of code."""
    lines: list[str] = []
    for line in [*_CODE.sub("", get_text(page)).splitlines(), ""]:
        if line.startswith("|"):
            lines.append(line)
        elif lines:
            yield lines
            lines = []


def count_cells(line: str) -> int:
    """Count as GitHub and MyST do: a bar ends a cell also in code, unless it is escaped."""
    return len(re.findall(r"(?<!\\)\|", line)) - 1


@pytest.mark.parametrize("page", PAGES)
def test_every_row_has_the_cells_of_its_head(page: str) -> None:
    for head, divider, *rows in (
        lines if len(lines) > 1 else [*lines, ""] for lines in get_tables(page)
    ):
        assert _DIVIDER.fullmatch(divider), f"a blank line breaks the table at {head!r}"
        for line in (divider, *rows):
            assert count_cells(line) == count_cells(head), line


def test_a_bar_in_code_ends_a_cell_and_an_escaped_one_does_not() -> None:
    assert count_cells("| `a | b` | c |") == 3
    assert count_cells(r"| `a \| b` | c |") == 2
