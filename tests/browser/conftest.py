"""A real browser on the page of a real server; skipped, with the reason, where there is none.

Every test fails on an error in the console, an uncaught error, a violation of the policy, or a
request to anywhere else.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from whisperr import Whisperr
from whisperr.dev import LocalServer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request

CHROMIUM = Path(os.environ.get("CHROMIUM", "/usr/bin/chromium"))
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
TIMEOUT_MS = 30_000  # only a hang reaches it


# For this folder only: it runs an event loop, which other tests must not have.
@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    api = pytest.importorskip(
        "playwright.sync_api", reason="Playwright is missing: pip install -e '.[browser]'"
    )
    if not CHROMIUM.exists():
        pytest.skip(f"Chromium is missing: no {CHROMIUM}; apt-get install chromium")
    with api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield started
        started.close()


@pytest.fixture
def server() -> Iterator[LocalServer]:
    with LocalServer() as started:
        yield started


@pytest.fixture
def client(server: LocalServer) -> Iterator[Whisperr]:
    with Whisperr("wrk_secret_key", base_url=server.url, flush_interval=0.05) as made:
        yield made


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    made = browser.new_context(viewport={"width": 1280, "height": 800})
    made.set_default_timeout(TIMEOUT_MS)
    yield made
    made.close()


@pytest.fixture
def page(context: BrowserContext, server: LocalServer) -> Iterator[Page]:
    """Open the page and watch it; anything wrong in it fails the test at its end."""
    new, wrong = open_page(context, server)
    new.goto(server.url)
    new.wait_for_selector("[data-state=live]")
    yield new
    assert wrong == []


def open_page(context: BrowserContext, server: LocalServer) -> tuple[Page, list[str]]:
    """Return a new page, and the list of errors in it."""
    new = context.new_page()
    wrong: list[str] = []

    def add_error(message: ConsoleMessage) -> None:
        # Some tests close the server; the page shows that itself.
        if message.type in {"error", "warning"} and "net::ERR_" not in message.text:
            wrong.append(message.text)

    def check_address(request: Request) -> None:
        if not request.url.startswith(server.url):
            wrong.append(f"a request to {request.url}")

    new.on("console", add_error)
    new.on("pageerror", lambda error: wrong.append(str(error)))
    new.on("request", check_address)
    return new, wrong


def get_names(page: Page) -> list[str]:
    """Return the types of the rows, from the top."""
    order: Any = page.evaluate(
        "() => [...document.querySelectorAll('.row')]"
        ".sort((a, b) => a.ariaPosInSet - b.ariaPosInSet)"
        ".map(row => row.querySelector('.name').textContent)"
    )
    return [str(name) for name in order]
