"""Writes a Markdown twin beside each page of the site, and `llms.txt`, which lists the twins.

The twin of `trouble/logging.html` is `trouble/logging.md`: the source of the page, in which links
between pages work unchanged. A page with directives, such as one of the API reference, is rendered.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from docutils import nodes
from sphinx_markdown_builder.builder import MarkdownBuilder
from sphinx_markdown_builder.translator import MarkdownTranslator

import site_pages

if TYPE_CHECKING:
    from sphinx.application import Sphinx
    from sphinx.util.typing import ExtensionMetadata

_DIRECTIVE = re.compile(r"^```+\{", re.MULTILINE)
_IMAGE = re.compile(r"(!\[[^\]]*\]\(|<img src=\")([^)\":]+)([)\"])")
_LINK = re.compile(r"(\]\()([^):#\s]+)(\))")
_VERSION_BOX = re.compile(r"^#+ Version(?:added|changed)\n", re.MULTILINE)  # "Added in" follows
_PAGE_LINK = re.compile(r"\]\(([^):\s]*)\.html(#[^)\s]*)?\)")


def get_source(app: Sphinx, docname: str) -> str:
    """Return the Markdown of a page as it is in `docs`."""
    return Path(app.env.doc2path(docname)).read_text(encoding="utf-8")


def is_listed(app: Sphinx, docname: str) -> bool:
    """Return whether a name is a page of the documentation; search and 404 are not."""
    return docname in app.env.found_docs and docname != app.config.notfound_pagename


def render(app: Sphinx, doctree: nodes.document) -> str:
    """Return a resolved page as Markdown."""
    for node in list(doctree.findall(nodes.abbreviation)):  # such as `*` in a signature
        node.replace_self(node.children)
    builder = MarkdownBuilder(app, app.env)
    translator = MarkdownTranslator(doctree, builder)
    doctree.walkabout(translator)
    text = translator.astext().replace("```default", "```python")
    text = _VERSION_BOX.sub("", text)
    return _PAGE_LINK.sub(r"](\1.md\2)", text)


def make_twin(app: Sphinx, docname: str, doctree: nodes.document) -> str:
    """Return the twin of a page."""
    source = get_source(app, docname)
    if _DIRECTIVE.search(source):
        return render(app, doctree.deepcopy())
    folder = posixpath.dirname(docname)

    def place_image(found: re.Match[str]) -> str:
        name = app.env.images[posixpath.normpath(posixpath.join(folder, found[2]))][1]
        return f"{found[1]}{posixpath.relpath(f'_images/{name}', folder or '.')}{found[3]}"

    def place_download(found: re.Match[str]) -> str:
        path = Path(posixpath.normpath(posixpath.join(folder, found[2])))
        if path not in app.env.dlfiles:
            return found[0]
        name = app.env.dlfiles[path][1]
        return f"{found[1]}{posixpath.relpath(f'_downloads/{name}', folder or '.')}{found[3]}"

    text = _IMAGE.sub(place_image, site_pages.link_to_repository(source, docname))
    return _LINK.sub(place_download, text)


def write_twin(
    app: Sphinx,
    pagename: str,
    _template: str,
    context: dict[str, Any],
    doctree: nodes.document | None,
) -> None:
    """Write the twin when its page is written, and name it in the head of the page."""
    if doctree is None or not is_listed(app, pagename):
        return
    path = Path(app.outdir) / f"{pagename}.md"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(make_twin(app, pagename, doctree), encoding="utf-8")
    name = posixpath.basename(path)
    context["metatags"] += f'<link rel="alternate" type="text/markdown" href="{name}" />'


def list_pages(app: Sphinx, index: str) -> list[str]:
    """Return the lines of `llms.txt` for the pages below an index page."""
    rows = site_pages.get_entries(get_source(app, index))
    lines = []
    for docname in app.env.toctree_includes[index]:
        target = posixpath.relpath(docname, posixpath.dirname(index) or ".") + ".md"
        about = ": ".join(x for x in rows[target].strip("| ").split(" | ") if "](" not in x)
        line = f"- [{app.env.titles[docname].astext()}]({docname}.md)"
        lines.append(f"{line}: {about}" if about else line)
        if docname in app.env.toctree_includes:
            lines += list_pages(app, docname)
    return lines


def write_index(app: Sphinx, exception: Exception | None) -> None:
    """Write `llms.txt`: what the project is, and every page by section."""
    if exception is not None or app.builder.name != "html":
        return
    root = app.config.root_doc
    title, summary, *_ = get_source(app, root).split("\n\n")
    lines = [title, "", "> " + " ".join(summary.split())]
    for section in app.env.toctree_includes[root]:
        name = app.env.titles[section].astext()
        lines += ["", f"## {name}", "", f"- [{name}]({section}.md)", *list_pages(app, section)]
    (Path(app.outdir) / "llms.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def setup(app: Sphinx) -> ExtensionMetadata:
    """Connect to Sphinx."""
    app.setup_extension("sphinx_markdown_builder")
    app.connect("html-page-context", write_twin)
    app.connect("build-finished", write_index)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
