"""Foreign text, shown: one line, without characters that control a terminal or forge a log line."""

from __future__ import annotations


def printable(text: str, longest: int | None = None) -> str:
    """Return the text with escapes for all that cannot be printed, cut to `longest` characters.

    Line breaks, escape sequences and characters that change the direction of writing are escaped.
    """
    cut = longest is not None and len(text) > longest
    shown = text[:longest] if cut else text
    if not shown.isprintable():
        shown = "".join(
            char if char.isprintable() else char.encode("unicode_escape").decode() for char in shown
        )
    return f"{shown}…" if cut else shown
