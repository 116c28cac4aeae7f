"""Reads the docstrings of classes: what a class is, and its `Attributes:` in Google style. Pure."""

from __future__ import annotations

import inspect
import re

# What follows the text: a section such as "Attributes:", an example, or a directive of Sphinx.
_END = re.compile(r"^(?:[A-Z]\w*(?: \w+)?::?\s*$|\.\. \w)", re.MULTILINE)
_ATTRIBUTES = re.compile(r"^Attributes:\n((?:[ \t]+.*\n?|\n)+)", re.MULTILINE)
_ENTRY = re.compile(r"(\w+)(?: \([^)]*\))?:\s*(.*)", re.DOTALL)


def get_description(kind: type) -> str:
    """Return what the docstring of a class says before its sections; "" without a docstring."""
    return _END.split(_get_docstring(kind), maxsplit=1)[0].strip()


def get_attributes(kind: type) -> dict[str, str]:
    """Return the descriptions of the attributes of a class, also those that its bases describe."""
    described: dict[str, str] = {}
    for one in reversed(kind.__mro__):
        found = _ATTRIBUTES.search(_get_docstring(one))
        for entry in _split_entries(found[1]) if found else ():
            name = _ENTRY.fullmatch(entry)
            if name:
                described[name[1]] = " ".join(name[2].split())
    return described


def _split_entries(text: str) -> list[str]:
    """Return the entries of a section; the lines that continue an entry are indented deeper."""
    lines = [line for line in text.expandtabs().splitlines() if line.strip()]
    indent = len(lines[0]) - len(lines[0].lstrip())
    entries: list[str] = []
    for line in lines:
        if entries and line[: indent + 1].isspace():
            entries[-1] += f" {line.strip()}"
        else:
            entries.append(line.strip())
    return entries


def _get_docstring(kind: type) -> str:
    """Return the docstring that the author of a class wrote; "" if there is none.

    Data classes and named tuples without one get their signature, such as `Seats(used: int)`.
    """
    text = vars(kind).get("__doc__")
    if not isinstance(text, str) or text.startswith(f"{kind.__name__}("):
        return ""
    return inspect.cleandoc(text)
