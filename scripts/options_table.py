"""Write the options table of the README from `whisperr._options`; a test compares the two."""

from __future__ import annotations

import sys
from pathlib import Path

from whisperr._options import OPTIONS

README = Path(__file__).resolve().parent.parent / "README.md"
START = "<!-- options: written by `python scripts/options_table.py`, compared by a test -->\n"
END = "<!-- /options -->"


def table() -> str:
    """Return the table as Markdown."""
    lines = ["| option | default | meaning |", "|---|---|---|"]
    lines += [f"| `{o.name}` | `{shown(o.default)}` | {o.meaning} |" for o in OPTIONS]
    return "\n".join(lines) + "\n"


def shown(default: object) -> str:
    """Return a default as one writes it in code: long numbers in groups of three."""
    return f"{default:_}" if type(default) is int else repr(default).replace("'", '"')


def filled(text: str) -> str:
    """Return the README with the table in its place."""
    before, rest = text.split(START)
    return f"{before}{START}\n{table()}\n{END}{rest.split(END, 1)[1]}"


def main() -> int:
    """Write the table; with `--check`, only say with 1 that it is not the one of the code."""
    text = README.read_text(encoding="utf-8")
    if "--check" in sys.argv:
        return int(filled(text) != text)
    README.write_text(filled(text), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
