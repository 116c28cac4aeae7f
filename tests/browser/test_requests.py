"""Requests in the browser: refused ones, their reasons, the way to their events and back."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.browser.conftest import open_page
from tests.browser.test_detail import SCRIPT
from tests.browser.test_page import made, send, text, wait_text
from tests.dev.wire import BATCH, HEADERS, call, post
from whisperr.dev import LocalServer, faults

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import BrowserContext, Page

    from whisperr import Whisperr

SECRET = "wrk_do_not_show_this"


@pytest.fixture
def strict(context: BrowserContext) -> Iterator[tuple[Page, LocalServer]]:
    """Open the page of a server that accepts one key only."""
    with LocalServer(api_key="wrk_right") as server:
        page, wrong = open_page(context, server)
        page.goto(server.url)
        page.wait_for_selector("[data-state=live]")
        yield page, server
        page.goto("about:blank")
    assert wrong == []


def refuse(server: LocalServer, **changes: str | None) -> None:
    """Send one event with another key."""
    assert (
        post(server, BATCH, {"events": [made("a")]}, **{"X-API-Key": SECRET, **changes})[0] == 401
    )


def open_requests(page: Page, count: str) -> None:
    page.click("[data-tab=requests]")
    wait_text(page, "#count", count)


def get_statuses(page: Page) -> list[str]:
    """Return the statuses of the rows, from the top."""
    order: Any = page.evaluate(
        "() => [...document.querySelectorAll('.request')]"
        ".sort((a, b) => a.ariaPosInSet - b.ariaPosInSet)"
        ".map(row => row.querySelector('.status').textContent)"
    )
    return [str(status) for status in order]


class TestRefused:
    def test_a_refused_key_is_shown_with_its_reason_and_fix_in_place_of_nothing(
        self, strict: tuple[Page, LocalServer]
    ) -> None:
        page, server = strict
        page.wait_for_selector("#any-key:has-text('only the key that it was started with')")
        run = f"whisperr dev --port {server.port} --key YOUR_KEY -- python app.py"
        assert page.locator("#empty pre").filter(has_text=run).is_visible()
        refuse(server)
        page.wait_for_selector("#refusals:visible")
        assert not page.locator("#empty").is_visible()
        shown = text(page, "#refusals")
        for part in (
            "Requests arrive, but none is accepted",
            "401",
            "not the key that whisperr dev was started with",
            "Set WHISPERR_API_KEY",
            "1 request, the latest at ",
            "POST /v1/events/batch from whisperr-python/0",
        ):
            assert part in shown
        page.get_by_role("button", name="Show it").focus()
        refuse(server)
        page.wait_for_selector("#refusals:has-text('2 requests')")
        assert page.evaluate("() => document.activeElement.textContent") == "Show them"
        page.keyboard.press("Enter")
        wait_text(page, "#count", "2 requests")
        assert page.input_value("#filter") == "status:401 error:invalid_api_key"
        assert SECRET not in page.content()

    def test_the_first_accepted_event_takes_its_place(
        self, strict: tuple[Page, LocalServer]
    ) -> None:
        page, server = strict
        refuse(server)
        page.wait_for_selector("#refusals:visible")
        body = {"events": [made("a")]}
        assert post(server, BATCH, body, **{"X-API-Key": "wrk_right"})[0] == 202
        page.wait_for_selector(".row")
        assert not page.locator("#refusals").is_visible()
        assert text(page, "#total-failed") == "1"

    def test_every_kind_of_refusal_has_its_own_reason(
        self, page: Page, server: LocalServer
    ) -> None:
        post(server, BATCH, b"{")
        post(server, "/v1/event", {})
        call(server, "GET", BATCH)
        page.wait_for_selector("#refusals:has-text('405')")
        reasons = page.locator(".refusal").all_inner_texts()
        assert [reason.split()[0] for reason in reasons] == ["405", "404", "400"]
        assert "invalid JSON" in reasons[2]


class TestList:
    def test_requests_appear_as_they_arrive_with_status_and_reason(
        self, page: Page, server: LocalServer
    ) -> None:
        page.click("[data-tab=requests]")
        send(server, made("a"), made("b", properties=[]))
        page.wait_for_selector(".request")
        post(server, BATCH, b"{")
        post(server, BATCH, {"events": [made("c")]}, **{"X-API-Key": None})
        wait_text(page, "#count", "3 requests")
        assert get_statuses(page) == ["401", "400", "202"]
        first, second, third = (
            page.locator(f"#request-{number}").inner_text() for number in (1, 2, 3)
        )
        assert "1 of 2 events refused" in first
        assert "2 events" in first
        assert "ms" in first
        assert "whisperr-python/0" in first
        assert "invalid JSON" in second
        assert "no key; send the server key in X-API-Key" in third

    def test_it_survives_a_reload_with_what_is_chosen(
        self, page: Page, server: LocalServer
    ) -> None:
        post(server, BATCH, b"{")
        send(server, made("a"))
        open_requests(page, "2 requests")
        page.fill("#filter", "is:failed")
        wait_text(page, "#count", "1 of 2 requests")
        page.click(".request")
        wait_text(page, "#request-status", "400")
        page.reload()
        wait_text(page, "#count", "1 of 2 requests")
        wait_text(page, "#request-status", "400")
        assert page.input_value("#filter") == "is:failed"

    def test_a_request_leads_to_its_events_and_an_event_to_its_request(
        self, page: Page, server: LocalServer
    ) -> None:
        send(server, made("a"))
        send(server, made("b"), made("c", event_type="payment_failed"))
        open_requests(page, "2 requests")
        page.click("#request-2")
        page.wait_for_selector("#request-events li")
        page.get_by_role("button", name="Show all 2 in the list of events").click()
        wait_text(page, "#count", "2 of 3 events")
        assert page.input_value("#filter") == "request:2"
        page.keyboard.press("j")
        wait_text(page, "#detail-id", "c")
        page.click("#detail-open-request")
        wait_text(page, "#count", "2 requests")
        page.wait_for_selector("#request-events li")
        assert not page.locator("#detail").is_visible()
        page.locator("#request-events").get_by_role("button", name="payment_failed").click()
        wait_text(page, "#detail-id", "c")
        wait_text(page, "#count", "3 events")

    def test_the_filter_has_the_fields_of_requests(self, page: Page, server: LocalServer) -> None:
        send(server, made("a"))
        post(server, "/v1/identify", {"external_user_id": "u"}, **{"User-Agent": "cron/1"})
        post(server, "/v1/event", {})
        open_requests(page, "3 requests")
        cases = {
            "status:2*": "2 of 3 requests",
            "status>=400": "1 of 3 requests",
            "path:*/identify": "1 of 3 requests",
            "agent:cron/*": "1 of 3 requests",
            "error:not_found": "1 of 3 requests",
            "is:ok -path:*/batch": "1 of 3 requests",
            "accepted>0": "2 of 3 requests",
            "no such path; POST to one of": "1 of 3 requests",
        }
        for query, count in cases.items():
            page.fill("#filter", f'"{query}"' if " to " in query else query)
            wait_text(page, "#count", count)
        page.fill("#filter", "user:42")
        page.wait_for_selector("#filter-error:has-text('user: is not a field; fields are status')")
        page.click("[data-tab=events]")
        assert page.input_value("#filter") == ""
        assert not page.locator("#filter-error").is_visible()

    def test_the_terms_of_the_guide_are_in_the_grammar(self, page: Page) -> None:
        guide = Path(__file__).parents[2] / "docs" / "develop" / "local-server.md"
        section = guide.read_text(encoding="utf-8").partition("Requests have their own filters:")[2]
        terms = re.findall(r"`([^`]+)`", section.partition("\n\n")[0])
        fields = page.evaluate(
            """async terms => {
                const { parseFilter, REQUESTS } = await import("/_dev/page/filter.js");
                for (const term of terms) parseFilter(term, REQUESTS);
                return Object.keys(REQUESTS.fields);
            }""",
            terms,
        )
        assert {term.split(":")[0] for term in terms if ":" in term} == set(fields)

    def test_a_retry_is_marked_and_says_of_what(
        self, page: Page, server: LocalServer, client: Whisperr
    ) -> None:
        server.set_faults(faults.status(503, times=1))
        client.track("user_1", "trial_started")
        client.flush(30)
        open_requests(page, "2 requests")
        assert get_statuses(page) == ["202", "503"]
        assert "an injected fault" in text(page, "#request-1")
        assert "retry 1" in text(page, "#request-2")
        page.click("[data-term='retry>0']")
        wait_text(page, "#count", "1 of 2 requests")

    def test_the_body_and_headers_are_shown_without_the_key(
        self, page: Page, server: LocalServer
    ) -> None:
        headers = {**HEADERS, "X-API-Key": SECRET, "Cookie": "session=secret"}
        call(server, "POST", BATCH, b'{"events": [] ', headers)
        open_requests(page, "1 request")
        page.click(".request")
        page.wait_for_selector("#request:not([aria-busy])")
        page.locator("#request summary", has_text="Body").click()
        assert '"events": []' in text(page, "#request-body")
        page.locator("#request summary", has_text="Headers").click()
        assert "wrk_…" in text(page, "#request-headers")
        assert SECRET not in page.content()
        assert "session=secret" not in page.content()

    def test_the_keyboard_moves_through_requests(self, page: Page, server: LocalServer) -> None:
        for name in "abc":
            send(server, made(name))
        open_requests(page, "3 requests")
        for key, number in (("j", 3), ("j", 2), ("k", 3), ("k", 3)):
            page.keyboard.press(key)
            page.wait_for_selector(f"#request-{number}[aria-selected=true]")
        page.focus("#request-list")
        page.keyboard.press("ArrowDown")
        page.wait_for_selector("#request-list[aria-activedescendant=request-2]")
        page.keyboard.press("Escape")
        page.wait_for_selector("#request", state="hidden")

    def test_it_holds_a_bounded_number(self, page: Page) -> None:
        held, shown = page.evaluate(
            """async () => {
                const { Memory } = await import("/_dev/page/memory.js");
                const memory = new Memory();
                const make = (number) => ({number, received_at: 0, bytes: 1, digest: `${number}`,
                    status: 503, headers: {}});
                for (let part = 0; part < 30; part += 1)
                    memory.take({missed: 0, arrivals: [], requests: Array.from(
                        {length: 200}, (_, index) => make(part * 200 + index + 1))});
                return [memory.requests.length, memory.latestRequests.map(one => one.number)];
            }"""
        )
        assert held <= 5_500
        assert shown == list(range(1_001, 6_001))

    def test_a_request_that_the_server_no_longer_keeps_is_shown_from_the_page(
        self, page: Page, server: LocalServer
    ) -> None:
        post(server, BATCH, b"{")
        open_requests(page, "1 request")
        page.click("#pause")
        wait_text(page, "#connection-text", "paused")
        server.reset()
        page.route("**/_dev/request?*", lambda route: route.fulfill(status=204))
        page.click(".request")
        page.wait_for_selector("#request:not([aria-busy])")
        assert "invalid JSON" in text(page, "#request-reason")

    def test_a_link_to_what_is_not_kept_says_so(self, page: Page, server: LocalServer) -> None:
        send(server, made("a"))
        wait_text(page, "#count", "1 event")
        page.evaluate("() => { location.hash = 'view=requests&request=77'; }")
        page.wait_for_selector("#notice:has-text('does not have request 77')")


class TestHostile:
    def test_foreign_text_in_requests_stays_text(self, page: Page, server: LocalServer) -> None:
        headers = {"User-Agent": SCRIPT, "X-Odd": SCRIPT, "Content-Type": SCRIPT}
        for path in (BATCH, f"/v1/{SCRIPT.replace(' ', '+')}"):
            post(server, path, {SCRIPT: 1}, **headers)
        post(server, BATCH, {SCRIPT: 1, "events": []}, **{"User-Agent": f"a{SCRIPT}"})
        page.wait_for_selector("#refusals:has-text('<script>')")
        open_requests(page, "3 requests")
        for number in (3, 2, 1):
            page.keyboard.press("j")
            page.wait_for_selector(f"#request-{number}[aria-selected=true]")
            page.wait_for_selector(f"#request-facts:has-text('number {number},')")
            page.wait_for_selector("#request:not([aria-busy])")
            assert SCRIPT in text(page, "#request-facts")
            assert SCRIPT in text(page, f"#request-{number} .agent")
        page.locator("#agents button").first.click()
        page.wait_for_function("() => /^[12] of 3 requests$/.test(count.textContent)")
        page.fill("#filter", f'"{SCRIPT}"')
        page.wait_for_selector("#no-match:visible, .request")
        assert page.evaluate("() => window.broken") is None
        assert page.locator("main script, main img, aside img, header script").count() == 0

    def test_what_has_no_json_does_not_stop_the_page(self, page: Page, server: LocalServer) -> None:
        post(server, BATCH, b'{"events":[{"a":1e999}, ' + b"[" * 500 + b"]" * 500 + b"]}")
        wait_text(page, "#count", "2 events")
        open_requests(page, "1 request")
        page.click(".request")
        page.wait_for_selector("#request-events li")
        assert page.locator("#request-events li").count() == 2
        page.locator("#request-events").get_by_role("button").first.click()
        page.wait_for_selector("#detail:not([aria-busy])")
        page.get_by_text("As sent").click()
        assert text(page, "#detail-raw") == '{"a":1e999}'
