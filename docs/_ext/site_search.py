"""Makes the search of Sphinx find what readers of these pages look for.

- What a page defines is an entry of the index: names in headings and in the first column of
  tables, and the words that list items begin with in bold.
- Statuses such as 401 are words. Sphinx drops numbers.
- `search.js` ranks the results.
"""

from __future__ import annotations

import posixpath
from pathlib import Path
from typing import TYPE_CHECKING

from docutils import nodes
from sphinx import addnodes
from sphinx.search.en import SearchEnglish

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sphinx.application import Sphinx
    from sphinx.config import Config
    from sphinx.util.typing import ExtensionMetadata

_STATUS_DIGITS = 3


class English(SearchEnglish):
    """English, in which the status of an answer is a word."""

    def word_filter(self, word: str) -> bool:
        """Return whether a word is put into the index."""
        is_status = word.isdigit() and len(word) == _STATUS_DIGITS
        return is_status or super().word_filter(word)


def is_first(node: nodes.Node) -> bool:
    """Return whether an element begins its list item."""
    paragraph = node.parent
    return paragraph[0] is node and paragraph.parent[0] is paragraph


def find_definitions(doctree: nodes.document) -> Iterator[tuple[nodes.section, str]]:
    """Yield what a page defines, with the section where it does."""
    for section in doctree.findall(nodes.section):
        for part in section.children:
            if isinstance(part, nodes.title):
                yield from ((section, name.astext()) for name in part.findall(nodes.literal))
            elif isinstance(part, nodes.table):
                for row in part.findall(nodes.row):
                    yield from ((section, name.astext()) for name in row[0].findall(nodes.literal))
            elif isinstance(part, nodes.bullet_list):
                words = (item.next_node(nodes.strong) for item in part.children)
                yield from ((section, word.astext()) for word in words if word and is_first(word))


def add_entries(app: Sphinx, doctree: nodes.document) -> None:
    """Add what a page defines to the index that the search reads."""
    if posixpath.basename(app.env.current_document.docname) == "index":
        return  # it names what other pages define
    for section, name in dict.fromkeys(find_definitions(doctree)):
        # Without an anchor a result is the page itself, which is found only once then.
        anchor = "" if section.parent is doctree else section["ids"][0]
        entry = ("single", name.replace(";", ","), anchor, "main", None)
        section.append(addnodes.index(entries=[entry]))


def set_scorer(app: Sphinx, config: Config) -> None:
    """Let Sphinx include our ranking in the scripts of the search page."""
    config["html_search_scorer"] = str(Path(app.confdir) / "_ext" / "search.js")


def setup(app: Sphinx) -> ExtensionMetadata:
    """Connect to Sphinx."""
    app.add_search_language(English)
    app.connect("config-inited", set_scorer)
    app.connect("doctree-read", add_entries)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
