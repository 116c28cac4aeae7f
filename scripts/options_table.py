"""Write the options table of the README from `whisperr._options`. A test compares the two."""

from __future__ import annotations

import sys
from pathlib import Path

from whisperr._options import OPTIONS

README = Path(__file__).resolve().parent.parent / "README.md"
START = "<!-- options: written by `python scripts/options_table.py`, compared by a test -->\n"
END = "<!-- /options -->"


def make_table() -> str:
    """Return the table as Markdown."""
    lines = ["| option | default | meaning |", "|---|---|---|"]
    lines += [f"| `{o.name}` | `{to_code(o.default)}` | {o.meaning} |" for o in OPTIONS]
    return "\n".join(lines) + "\n"


def to_code(default: object) -> str:
    """Return a default as code, with the digits of long numbers in groups of three."""
    return f"{default:_}" if type(default) is int else repr(default).replace("'", '"')


def replace_table(text: str) -> str:
    """Return the README with the current table."""
    before, rest = text.split(START)
    return f"{before}{START}\n{make_table()}\n{END}{rest.split(END, 1)[1]}"


def main() -> int:
    """Write the table; with `--check` only return 1 when it differs from the code."""
    text = README.read_text(encoding="utf-8")
    if "--check" in sys.argv:
        return int(replace_table(text) != text)
    README.write_text(replace_table(text), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
