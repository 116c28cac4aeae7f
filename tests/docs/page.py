"""Pages of the documentation, the blocks of code in them, and their tables."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = ["README.md", "CONTRIBUTING.md", "AGENTS.md", "CHANGELOG.md", "SECURITY.md"]
PAGES += [path.relative_to(ROOT).as_posix() for path in sorted((ROOT / "docs").rglob("*.md"))]
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def get_text(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def get_blocks(page: str, language: str) -> list[str]:
    return [text for kind, text in _BLOCK.findall(get_text(page)) if kind == language]


def paste(page: str) -> str:
    """Return the Python of a page as a newcomer has it: every block, in order, in one file."""
    return "\n\n".join(get_blocks(page, "python"))


def get_rows(page: str, heading: str) -> list[list[str]]:
    """Return the cells of the tables below a heading, up to the next one, without heads."""
    title = rf"^#+ {re.escape(heading)}$"
    text = re.split(title, get_text(page), maxsplit=1, flags=re.MULTILINE)[1]
    lines = re.split(r"^#+ ", text, maxsplit=1, flags=re.MULTILINE)[0].splitlines()
    rows = []
    for before, line in zip(["", *lines], lines, strict=False):
        if line.startswith("| ") and before.startswith("|"):
            rows.append([cell.strip() for cell in line[1:-1].split("|")])
    return rows


def get_names(cell: str) -> list[str]:
    """Return what a cell has in back quotes."""
    return re.findall(r"`([^`]+)`", cell)
