"""Lets pages that are written for GitHub make the site.

- An index page links to the pages of its folder, in order. These links are its toctree.
"""

from __future__ import annotations

import posixpath
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sphinx.application import Sphinx

# A page of the same folder, or the index of a folder below it.
_ENTRY = re.compile(r"\]\(((?:[\w-]+/index|[\w-]+)\.md)(?:#[^)]*)?\)")


def add_toctree(_app: Sphinx, docname: str, source: list[str]) -> None:
    """Append to an index page the toctree of the pages that it links to."""
    if posixpath.basename(docname) != "index":
        return
    entries = list(dict.fromkeys(_ENTRY.findall(source[0])))
    source[0] += "\n```{toctree}\n:hidden:\n\n" + "\n".join(entries) + "\n```\n"


def setup(app: Sphinx) -> dict[str, bool]:
    """Connect to the events of Sphinx."""
    app.connect("source-read", add_toctree)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
