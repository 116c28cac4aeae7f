"""Makes foreign text safe to show: one line that cannot control a terminal or forge a record."""

from __future__ import annotations


def printable(text: str, longest: int | None = None) -> str:
    """Return the text with unprintable characters escaped, cut to `longest` characters.

    Line breaks, escape sequences and characters that change the direction of text are unprintable.
    """
    cut = longest is not None and len(text) > longest
    shown = text[:longest] if cut else text
    if not shown.isprintable():
        shown = "".join(
            char if char.isprintable() else char.encode("unicode_escape").decode() for char in shown
        )
    return f"{shown}…" if cut else shown
