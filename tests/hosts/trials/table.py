"""The table of docs/delivery/processes.md: a row for each trial, between two comments."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

START = "<!-- trials: written by `python -m scripts.hosts` -->\n"
END = "<!-- /trials -->"
HEAD = "| host | nothing added | add | tried with |\n|---|---|---|---|\n"
TO_ALL = (
    "Without it, these lost the event or hung in some runs, even with the addition from the table: "
)


class Row(NamedTuple):
    """The result of a host."""

    host: str
    version: str
    delivered: bool
    # The section that says what to add.
    section: str = ""
    # Whether it loses, even with the section's lines, if all processes get SIGTERM at once.
    loses_to_all: bool = False

    def to_line(self) -> str:
        """Return the row as Markdown."""
        word = "delivered" if self.delivered else "**lost**"
        add = f"[{self.section}](#{to_anchor(self.section)})" if self.section else "nothing"
        if self.delivered and self.section:
            add = f"nothing, but see [{self.section}](#{to_anchor(self.section)})"
        return f"| {self.host} | {word} | {add} | {self.version} |\n"


def to_anchor(section: str) -> str:
    """Return the anchor of a heading."""
    return re.sub(r"[^\w -]", "", section).lower().replace(" ", "-")


def parse_rows(page: str) -> dict[str, Row]:
    """Return the rows of the page by their hosts."""
    table = page.partition(START)[2].partition(END)[0]
    lost_by_all = re.search(rf"{TO_ALL}(.*)\.$", page, re.MULTILINE)
    assert lost_by_all
    rows = {}
    for line in table.strip().splitlines()[2:]:
        host, word, add, version = (cell.strip() for cell in line.strip("|").split("|"))
        section = re.search(r"\[(.+)\]", add)
        rows[host] = Row(
            host,
            version,
            word == "delivered",
            section[1] if section else "",
            host in lost_by_all[1].split("; "),
        )
    return rows


def to_page(page: str, rows: Sequence[Row]) -> str:
    """Return the page with this table, and the sentence about SIGTERM to all processes."""
    before, rest = page.split(START)
    table = HEAD + "".join(row.to_line() for row in rows)
    page = f"{before}{START}\n{table}\n{END}{rest.split(END, 1)[1]}"
    names = "; ".join(row.host for row in rows if row.loses_to_all) or "none"
    return re.sub(rf"{TO_ALL}.*$", f"{TO_ALL}{names}.", page, flags=re.MULTILINE)
