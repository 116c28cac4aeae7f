"""The site of the documentation in a browser: search, narrow and dark screens, wrong addresses."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
from scripts.documentation import make_server

from tests.browser.conftest import TIMEOUT_MS
from tests.docs.site import Built, site

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, ConsoleMessage, Page, Request

__all__ = ["site"]

WIDE = (1440, 900)
NARROW = (390, 844)


@pytest.fixture(scope="module")
def address(site: Built) -> Iterator[str]:
    """Serve the site, and return its address."""
    with make_server(site.folder, 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


@contextmanager
def open_page(
    browser: Browser, address: str, size: tuple[int, int] = WIDE, scheme: str = "light"
) -> Iterator[Page]:
    """Return a page of a new context; errors and requests to other hosts fail the test."""
    context = browser.new_context(
        viewport={"width": size[0], "height": size[1]},
        color_scheme="dark" if scheme == "dark" else "light",
    )
    context.set_default_timeout(TIMEOUT_MS)
    page = context.new_page()
    wrong: list[str] = []

    def add_error(message: ConsoleMessage) -> None:
        if message.type == "error" and "404" not in message.text:  # the icon, and wrong addresses
            wrong.append(message.text)

    def check_address(request: Request) -> None:
        if not request.url.startswith((address, "data:")):
            wrong.append(f"a request to {request.url}")

    page.on("console", add_error)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", check_address)
    yield page
    context.close()
    assert wrong == []


def search(page: Page, address: str, words: str) -> list[str]:
    """Type words into the search field and return the pages that are found, each once."""
    page.goto(f"{address}index.html")
    page.fill("input[name=q]", words)
    page.press("input[name=q]", "Enter")
    page.wait_for_url(f"**/search.html?q={quote(words).replace('%20', '+')}**")
    page.wait_for_selector("ul.search > li > a")
    page.wait_for_function(
        "document.querySelector('.search-summary').textContent.includes('found')"
    )
    links = page.locator("ul.search > li > a").evaluate_all("links => links.map(x => x.href)")
    names = [str(link).removeprefix(address).split(".html")[0] for link in links]
    return list(dict.fromkeys(names))


@pytest.mark.parametrize(
    ("words", "expected", "among"),
    [
        ("outbox", "delivery/outboxes", 3),
        ("SIGTERM", "delivery/processes", 1),
        ("401", "trouble/symptoms", 1),
        ("retry_exhausted", "reference/errors", 1),
        ("redact", "trouble/privacy", 1),
        ("redact email", "trouble/privacy", 1),
        ("lose events celery worker killed", "frameworks/celery", 1),
        ("flush_interval", "reference/options", 1),
        ("proxy", "trouble/proxies", 1),
        ("Stats.held", "reference/api/whisperr", 1),
        ("what does retry_exhausted mean?", "reference/errors", 1),
        ("how do I test", "develop/testing", 5),
        ("is it thread safe", "delivery/threads", 3),
    ],
)
def test_a_search_finds_the_page(
    browser: Browser, address: str, words: str, expected: str, among: int
) -> None:
    with open_page(browser, address) as page:
        assert expected in search(page, address, words)[:among]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
def test_no_page_is_wider_than_the_screen(
    browser: Browser, address: str, site: Built, size: tuple[int, int], scheme: str
) -> None:
    longest = sorted(site.folder.rglob("*/*.html"), key=lambda path: path.stat().st_size)[-6:]
    names = [path.relative_to(site.folder).as_posix() for path in longest]
    with open_page(browser, address, size, scheme) as page:
        for name in ("index.html", "404.html", "search.html?q=flush", *names):
            page.goto(address + name)
            assert page.evaluate(
                "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
            ), name


def test_a_wide_table_scrolls_in_its_own_box(browser: Browser, address: str) -> None:
    with open_page(browser, address, NARROW) as page:
        page.goto(f"{address}reference/options.html")
        assert page.locator(".table-wrapper").first.evaluate(
            "box => box.scrollWidth > box.clientWidth && getComputedStyle(box).overflowX === 'auto'"
        )


def test_pages_follow_the_colours_of_the_system(browser: Browser, address: str) -> None:
    found = []
    for scheme in ("light", "dark"):
        with open_page(browser, address, scheme=scheme) as page:
            page.goto(f"{address}index.html")
            style = "getComputedStyle(document.body)"
            found.append(page.evaluate(f"[{style}.backgroundColor, {style}.color]"))
    assert found[0][0] != found[1][0]
    assert found[0][1] != found[1][1]


def test_a_wrong_address_leads_back(browser: Browser, address: str) -> None:
    with open_page(browser, address) as page:
        answer = page.goto(f"{address}no/such/page.html")
        assert answer is not None
        assert answer.status == 404
        page.click("[role=main] >> text=Find out why nothing arrives")
        page.wait_for_url(f"{address}trouble/doctor.html")


def test_code_is_copied_without_prompts_and_output(browser: Browser, address: str) -> None:
    with open_page(browser, address) as page:
        page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        page.goto(f"{address}index.html")
        block = page.locator("div.highlight-console").first
        for shown, copied in (
            ("pip install whisperr\n", "pip install whisperr"),
            ("$ whisperr doctor\nok\n", "whisperr doctor"),
            (">>> import whisperr\n>>> 1\n1\n", "import whisperr\n1"),
        ):
            block.locator("pre").evaluate("(code, text) => { code.textContent = text }", shown)
            block.hover()
            block.locator("button.copybtn").click()
            page.wait_for_function(
                "async (text) => await navigator.clipboard.readText() === text", arg=copied
            )


def test_what_a_command_prints_has_no_button(browser: Browser, address: str) -> None:
    with open_page(browser, address) as page:
        page.goto(f"{address}index.html")
        page.wait_for_selector("div.highlight-python button.copybtn", state="attached")
        assert page.locator("div.highlight-text").count() > 0
        assert page.locator("div.highlight-text button").count() == 0
