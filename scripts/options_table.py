"""Write the table of docs/reference/options.md from `whisperr._options`; a test compares them."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from whisperr._integrations.client import get_setting_name
from whisperr._options import OPTIONS, Option

PAGE = Path(__file__).resolve().parent.parent / "docs" / "reference" / "options.md"
START = "<!-- options: written by `python scripts/options_table.py`, compared by a test -->\n"
END = "<!-- /options -->"
_PAGE_NAME = re.compile(r"\bdocs/([a-z-]+)/([a-z-]+)\.md\b")
_VARIABLE = re.compile(r"`(WHISPERR_[A-Z_]+)`")


def make_table() -> str:
    """Return the table as Markdown."""
    lines = ["| option | default | in the environment | meaning |", "|---|---|---|---|"]
    for option in OPTIONS:
        variable = get_variable(option)
        shown = "" if variable is None else f"`{variable}` "
        meaning = get_meaning(option)
        lines.append(f"| `{option.name}` | `{to_code(option.default)}` | {shown}| {meaning} |")
    return "\n".join(lines) + "\n"


def get_variable(option: Option) -> str | None:
    """Return the variable of the environment that an option reads; its meaning names it."""
    found = _VARIABLE.search(option.meaning)
    if found is None:
        return None
    if found[1] != get_setting_name(option):
        raise ValueError(f"{option.name}: {found[1]} is not the name of its setting")
    return found[1]


def get_meaning(option: Option) -> str:
    """Return what an option means, without the variable, which has a column of its own."""
    parts = [part for part in option.meaning.split("; ") if _VARIABLE.search(part) is None]
    return _PAGE_NAME.sub(r"[\2](../\1/\2.md)", "; ".join(parts))


def to_code(default: object) -> str:
    """Return a default as code, with the digits of long numbers in groups of three."""
    return f"{default:_}" if type(default) is int else repr(default).replace("'", '"')


def replace_table(text: str) -> str:
    """Return the page with the current table."""
    before, rest = text.split(START)
    return f"{before}{START}\n{make_table()}\n{END}{rest.split(END, 1)[1]}"


def main() -> int:
    """Write the table; with `--check` only return 1 when it differs from the code."""
    text = PAGE.read_text(encoding="utf-8")
    if "--check" in sys.argv:
        return int(replace_table(text) != text)
    PAGE.write_text(replace_table(text), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
