"""Makes the site of pages that are written for GitHub.

- The rows of an index page that link to pages of its folder are its toctree.
- A link to a file outside of `docs` leads to that file on GitHub.
- The links of the page for wrong addresses begin at the root of the site.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import TYPE_CHECKING

from docutils import nodes
from notfound.utils import replace_uris
from pygments.lexers.shell import BashLexer
from pygments.lexers.special import TextLexer

if TYPE_CHECKING:
    from sphinx.application import Sphinx
    from sphinx.util.typing import ExtensionMetadata

ROOT = Path(__file__).resolve().parents[2]
REPOSITORY = "https://github.com/WhisperrAI/whisperr-python"
# Of a page in the same folder, or of the index of a folder below it.
_ENTRY = re.compile(r"\]\(((?:[\w-]+/index|[\w-]+)\.md)(?:#[^)]*)?\)")
_UPWARDS = re.compile(r"\]\((\.\./[^)#\s]+)(#[^)]*)?\)")


def get_entries(text: str) -> dict[str, str]:
    """Return the pages that an index page lists, relative to its folder, each with its row."""
    entries: dict[str, str] = {}
    for row in text.splitlines():
        if row.startswith(("|", "- ")):
            for page in _ENTRY.findall(row):
                entries.setdefault(page, row)
    return entries


def link_to_repository(text: str, docname: str) -> str:
    """Return the text of a page with its links to files outside of `docs` as addresses."""
    folder = posixpath.join("docs", posixpath.dirname(docname))

    def replace(found: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join(folder, found[1]))
        if path.startswith("docs/"):
            return found[0]
        kind = "tree" if (ROOT / path).is_dir() else "blob"
        return f"]({REPOSITORY}/{kind}/main/{path}{found[2] or ''})"

    return _UPWARDS.sub(replace, text)


def prepare_source(_app: Sphinx, docname: str, source: list[str]) -> None:
    """Change the text of a page before it is parsed; `source` holds it."""
    entries = get_entries(source[0]) if posixpath.basename(docname) == "index" else {}
    source[0] = link_to_repository(source[0], docname)
    if entries:
        source[0] += "\n".join(["\n```{toctree}", ":hidden:", "", *entries, "```", ""])


def root_links(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Let the page for wrong addresses, which is shown below any path, link from the root."""
    if docname == app.config.notfound_pagename:
        replace_uris(app, doctree, nodes.reference, "refuri")


def setup(app: Sphinx) -> ExtensionMetadata:
    """Connect to Sphinx, and let it know the languages of blocks as GitHub knows them."""
    app.connect("source-read", prepare_source)
    app.connect("doctree-resolved", root_links)
    app.add_lexer("console", BashLexer)  # commands, mostly without prompts
    app.add_lexer("csv", TextLexer)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
