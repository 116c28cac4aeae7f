"""Pages of the documentation and the blocks of code in them."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md"]
PAGES += [path.relative_to(ROOT).as_posix() for path in sorted((ROOT / "docs").rglob("*.md"))]
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def get_text(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def get_blocks(page: str, language: str) -> list[str]:
    return [text for kind, text in _BLOCK.findall(get_text(page)) if kind == language]
