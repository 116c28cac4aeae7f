"""The site of the documentation: complete, without a broken link, and without another host.

`tests/browser/test_site.py` looks at it in a browser.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import pytest

from tests.docs.page import PAGES, ROOT, get_text
from tests.docs.site import Built, Page, read_page, site
from tests.docs.test_links import get_anchors

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["site"]

REPOSITORY = re.compile(
    r"https://github\.com/WhisperrAI/whisperr-python/(blob|tree|edit)/main/([^#?]+)"
)
MISSING = "404"  # the page of an address that does not exist
SOURCES = [
    page.removeprefix("docs/").removesuffix(".md")
    for page in PAGES
    if page.startswith("docs/") and page != f"docs/{MISSING}.md"
]
FOREIGN_STYLE = re.compile(r"(?:url\(|@import)\s*['\"]?(?:https?:)?//[^)'\"\s]+")
MARKDOWN_LINK = re.compile(r"(?:\]\(|src=\")([^)\s\"]+)[)\"]")
FENCED = re.compile(r"^(`{3,}|~{3,}).*?^\1", re.MULTILINE | re.DOTALL)


def get_pages(site: Built) -> list[str]:
    """Return the names of the pages that were built, without the suffix."""
    return [
        path.relative_to(site.folder).with_suffix("").as_posix()
        for path in sorted(site.folder.rglob("*.html"))
    ]


def find_foreign(page: Page) -> list[str]:
    """Return what a page loads from other hosts."""
    loads = [link.address for link in page.links if link.is_loaded]
    foreign = [address for address in loads if urlsplit(address).netloc]
    return foreign + [found for style in page.styles for found in FOREIGN_STYLE.findall(style)]


def find_broken(folder: Path, path: Path, page: Page) -> list[str]:
    """Return the addresses of a page that lead to no file, or to no anchor of one."""
    broken = []
    for link in page.links:
        address = urlsplit(link.address)
        if address.scheme or address.netloc:
            continue
        start = folder / address.path.lstrip("/") if address.path.startswith("/") else None
        target = (start or path.parent / unquote(address.path)) if address.path else path
        anchor = unquote(address.fragment)
        if not target.is_file() or (
            anchor and target.suffix == ".html" and anchor not in read_page(target).anchors
        ):
            broken.append(link.address)
    return broken


def test_it_is_built_without_a_warning_and_without_the_network(site: Built) -> None:
    assert re.fullmatch(r"\d+ pages in [\d.]+ s, no warnings: .*\n\nstatus 0\n", site.output), (
        site.output
    )


def test_every_source_is_a_page_and_every_page_has_a_source(site: Built) -> None:
    assert set(get_pages(site)) == {*SOURCES, MISSING, "search"}


def test_every_page_is_in_the_navigation(site: Built) -> None:
    navigation = (site.folder / "index.html").read_text(encoding="utf-8")
    navigation = navigation.split('<div class="sidebar-tree">', 1)[1].split("</aside>", 1)[0]
    links = [link.address for link in Page(navigation).links if link.element == "a"]
    listed = [address.removesuffix(".html") for address in links]
    assert sorted(listed) == sorted(set(SOURCES) - {"index"})


def test_no_page_loads_anything_from_another_host(site: Built) -> None:
    pages = {path: read_page(path) for path in site.folder.rglob("*.html")}
    found = {str(path): find_foreign(page) for path, page in pages.items()}
    assert {path: foreign for path, foreign in found.items() if foreign} == {}
    assert all(any(link.is_loaded for link in page.links) for page in pages.values())


def test_no_style_sheet_loads_anything_from_another_host(site: Built) -> None:
    sheets = list(site.folder.rglob("*.css"))
    assert len(sheets) > 3
    for sheet in sheets:
        assert FOREIGN_STYLE.findall(sheet.read_text(encoding="utf-8")) == [], sheet


def test_every_link_leads_to_a_file_and_an_anchor(site: Built) -> None:
    found = {
        str(path): find_broken(site.folder, path, read_page(path))
        for path in site.folder.rglob("*.html")
    }
    assert {path: broken for path, broken in found.items() if broken} == {}


def test_every_link_to_the_repository_names_a_file_of_it(site: Built) -> None:
    found = {
        match[2]
        for path in site.folder.rglob("*.html")
        for link in read_page(path).links
        if (match := REPOSITORY.match(link.address))
    }
    assert {"examples/django", "docs/index.md"} <= found
    assert {name for name in found if not (ROOT / name).exists()} == set()


@pytest.mark.parametrize("name", SOURCES)
def test_headings_have_the_anchors_of_github(site: Built, name: str) -> None:
    anchors = get_anchors(get_text(f"docs/{name}.md"))
    assert anchors - read_page(site.folder / f"{name}.html").anchors == set()


def test_the_page_of_a_wrong_address_works_below_any_path(site: Built) -> None:
    page = read_page(site.folder / f"{MISSING}.html")
    local = [link.address for link in page.links if not urlsplit(link.address).netloc]
    assert {address for address in local if not address.startswith(("/", "#"))} == set()
    assert {"/index.html", "/trouble/doctor.html", "/search.html"} <= set(local)


@pytest.mark.parametrize("name", SOURCES)
def test_a_page_has_a_markdown_twin(site: Built, name: str) -> None:
    twin = site.folder / f"{name}.md"
    text = twin.read_text(encoding="utf-8")
    title = re.search(r"^# (.+)$", text, re.MULTILINE)
    assert title is not None
    assert len(text.splitlines()) > 4
    assert re.findall(r"^(`{3,}\{|:::|\.\. \w+::|\(.+\)=$)", text, re.MULTILINE) == []
    alternate = get_twin(read_page(site.folder / f"{name}.html"))
    assert alternate == twin.name
    for address in MARKDOWN_LINK.findall(FENCED.sub("", text)):
        parts = urlsplit(address)
        if not parts.scheme and parts.path:
            assert (twin.parent / parts.path).is_file(), address
            assert not parts.path.endswith(".html"), address


def get_twin(page: Page) -> str:
    return next(x.address for x in page.links if x.element == "link" and x.address.endswith(".md"))


def test_llms_txt_lists_every_twin_once_with_its_title(site: Built) -> None:
    text = (site.folder / "llms.txt").read_text(encoding="utf-8")
    assert text.startswith("# whisperr\n\n> `whisperr` sends ")
    listed = re.findall(r"^- \[(.+)\]\(([\w/-]+)\.md\)(?:: .+)?$", text, re.MULTILINE)
    assert sorted(name for _, name in listed) == sorted(set(SOURCES) - {"index"})
    for title, name in listed:
        heading = re.search(
            r"^# (.+)$", (site.folder / f"{name}.md").read_text("utf-8"), re.MULTILINE
        )
        assert heading is not None
        assert re.sub(r"[`\\*]", "", heading[1]) == title


@pytest.mark.parametrize(
    "text",
    [
        '<img src="https://example.org/a.png">',
        '<script src="//example.org/a.js"></script>',
        '<link rel="stylesheet" href="https://example.org/a.css">',
        '<link rel="preconnect" href="https://example.org">',
        '<img src="a.png" srcset="a.png 1x, https://example.org/b.png 2x">',
        "<style>@import 'https://example.org/a.css';</style>",
        '<p style="background: url(https://example.org/a.png)">x</p>',
    ],
)
def test_a_load_from_another_host_is_found(text: str) -> None:
    assert find_foreign(Page(text)) != []


def test_a_link_to_another_host_is_no_load() -> None:
    assert find_foreign(Page('<a href="https://example.org">x</a><img src="a.png">')) == []


def test_a_broken_link_is_found(tmp_path: Path) -> None:
    (tmp_path / "b.html").write_text('<p id="there">', encoding="utf-8")
    page = Page(
        '<a href="b.html#there"></a><a href="b.html#gone"></a>'
        '<a href="c.html"></a><a href="/b.html"></a>'
    )
    assert find_broken(tmp_path, tmp_path / "a.html", page) == ["b.html#gone", "c.html"]
