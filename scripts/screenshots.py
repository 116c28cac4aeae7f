"""Make the screenshots of docs/develop/local-server.md: a day of events in a real browser.

Needs `pip install -e '.[browser]'` and Chromium at /usr/bin/chromium, or named by CHROMIUM.
"""

from __future__ import annotations

import os
import sys
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from playwright.sync_api import sync_playwright

from whisperr import Whisperr
from whisperr.dev import LocalServer, faults
from whisperr.dev._console.demo import make_day

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page

    from whisperr.dev._console.demo import DayCall

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "develop" / "screenshots"
CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
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
WIDE = {"width": 1200, "height": 700}
NARROW = {"width": 375, "height": 760}
SPREAD = 280.0  # the day's events arrive as if over the last five minutes, in seconds
MOST_BYTES = 150_000


class _Clock:
    """The clock of the server: advanced by hand, so that the bars show minutes."""

    def __init__(self) -> None:
        self.behind = SPREAD

    def __call__(self) -> float:
        return time.time() - self.behind


def fill(server: LocalServer, clock: _Clock) -> None:
    """Deliver a day with a short outage, and some invalid events."""
    calls = make_day(24, 8842, datetime.now(timezone.utc))
    with Whisperr("wrk_demo", base_url=server.url, flush_at=500, flush_interval=60.0) as client:
        for number, part in enumerate(_split(calls, 45)):
            if number == 30:  # noqa: PLR2004  # some way into the day
                server.set_faults(faults.status(503, times=1))
            for call in part:
                _make(client, call)
            client.flush(30)
            server.set_faults()
            clock.behind = SPREAD * (1 - (number + 1) / 46)
            if number in {17, 38}:
                _send_invalid(server, number)
    clock.behind = 0.0


def _split(calls: list[DayCall], count: int) -> Iterator[list[DayCall]]:
    for number in range(count):
        yield calls[len(calls) * number // count : len(calls) * (number + 1) // count]


def _make(client: Whisperr, call: DayCall) -> None:
    if call.name is None:
        client.identify(call.user, traits=call.values, email=call.email)
    else:
        client.track(call.user, call.name, call.values, occurred_at=call.at)


def _send_invalid(server: LocalServer, number: int) -> None:
    """Send what the client would refuse, as another sender might."""
    from http.client import HTTPConnection
    from json import dumps

    then = datetime.now(timezone.utc) - timedelta(minutes=9)
    moment = then.strftime("%Y-%m-%dT%H:%M:%S.000Z")

    def event(name: str, user: object, message_id: str, **properties: object) -> dict[str, Any]:
        return {
            "external_user_id": user,
            "event_type": name,
            "occurred_at": moment,
            "properties": properties,
            "context": {"$message_id": message_id},
        }

    drifted = event("payment_failed", "user_8003", f"a{number}", amount_cents="4900", reason=None)
    wrong = event("Payment Failed", 8003, f"b{number}", amount_cents=4900)
    headers = {
        "X-API-Key": "wrk_live",
        "User-Agent": "billing-job/2.1",
        "Content-Type": "application/json",
    }
    connection = HTTPConnection("127.0.0.1", server.port, timeout=30)
    body = dumps({"events": [drifted, wrong, drifted]})
    connection.request("POST", "/v1/events/batch", body, headers)
    connection.getresponse().read()
    connection.close()


def take_screenshots(browser: Browser, server: LocalServer) -> None:
    """Take every screenshot."""
    page = browser.new_page(viewport=WIDE, color_scheme="light")  # type: ignore[arg-type]  # a dict
    page.goto(server.url)
    page.wait_for_selector(".row")
    save(page, "events-light")
    page.goto(f"{server.url}#q=payment")
    page.reload()
    page.locator(".row.is-refused").first.click()
    page.wait_for_selector("#detail:not([aria-busy])")
    save(page, "detail", height=660)
    page.goto(f"{server.url}#view=requests")
    page.reload()
    page.locator(".request", has_text="refused").first.click()
    page.wait_for_selector("#request:not([aria-busy])")
    page.locator("#request-list").evaluate(  # begin with a whole row
        "list => { list.scrollTop = Math.ceil(list.scrollTop / 36) * 36; }"
    )
    save(page, "requests")
    page.goto(f"{server.url}#view=types&q=payment")
    page.reload()
    page.wait_for_selector(".type")
    save(page, "types")
    page.emulate_media(color_scheme="dark")
    page.goto(f"{server.url}#user=user_8003")
    page.reload()
    page.wait_for_selector(".story-event")
    save(page, "user-dark")
    page.locator("#faults-button").click()
    save(page, "faults-dark", height=420)
    page.emulate_media(color_scheme="light")
    page.set_viewport_size(NARROW)  # type: ignore[arg-type]  # a dict
    page.goto(server.url)
    page.reload()
    page.wait_for_selector(".row")
    save(page, "narrow")


def take_refused(browser: Browser) -> None:
    """Take the screenshot of a server that refuses the key of its client."""
    page = browser.new_page(viewport=WIDE, color_scheme="light")  # type: ignore[arg-type]  # a dict
    with LocalServer(api_key="wrk_right") as server:
        page.goto(server.url)
        with Whisperr("wrk_wrong", base_url=server.url) as client:
            client.track("user_8842", "payment_failed", {"amount_cents": 4900})
            client.flush(30)
        page.wait_for_selector("#refusals:visible")
        save(page, "refused", height=330)
        page.close()


def save(page: Page, name: str, height: int | None = None) -> None:
    """Write one screenshot once the page has drawn."""
    page.evaluate(
        "() => new Promise(done => setTimeout(() => requestAnimationFrame(() => "
        "requestAnimationFrame(done)), 300))"
    )
    path = FOLDER / f"{name}.png"
    size = page.viewport_size or WIDE
    clip = {"x": 0, "y": 0, "width": size["width"], "height": height or size["height"]}
    page.screenshot(path=path, clip=clip)  # type: ignore[arg-type]  # likewise
    print(f"{path.relative_to(FOLDER.parent.parent)}: {path.stat().st_size:,} bytes")
    if path.stat().st_size > MOST_BYTES:
        sys.exit(f"{path.name} has more than {MOST_BYTES:,} bytes")


def main() -> None:
    """Fill a server and take the screenshots."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    clock = _Clock()
    with LocalServer(clock=clock) as server, sync_playwright() as playwright:
        fill(server, clock)
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        take_screenshots(browser, server)
        take_refused(browser)
        browser.close()


if __name__ == "__main__":
    main()
