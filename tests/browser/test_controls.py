"""The counters that filter, a filter without a match, older events, copies of the snippets."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.browser.test_page import filter_by, made, send, text, wait_text
from tests.dev.wire import BATCH, post

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page

    from whisperr.dev import LocalServer

SNIPPET = "whisperr = Whisperr()"
# A selection that is copied without the clipboard's own interface is seen by its event.
WATCH_COPIES = """() => {
    window.copied = null;
    addEventListener("copy", () => { window.copied = document.activeElement.value; });
}"""
NO_CLIPBOARD = "() => { navigator.clipboard.writeText = () => Promise.reject(new Error('no')); }"


def wait_pressed(page: Page, term: str, *, pressed: bool = True) -> None:
    page.wait_for_selector(f"[data-term='{term}'][aria-pressed={str(pressed).lower()}]")


class TestCounters:
    def test_a_counter_filters_and_a_second_click_shows_all(
        self, page: Page, server: LocalServer
    ) -> None:
        send(server, made("a"), made("a"), made("b", properties=[]))
        wait_text(page, "#count", "3 events")
        for status, count in (("accepted", 1), ("refused", 1), ("duplicate", 1)):
            page.click(f"[data-term='is:{status}']")
            wait_pressed(page, f"is:{status}")
            wait_text(page, "#count", f"{count} of 3 events")
            assert page.input_value("#filter") == f"is:{status}"
        page.get_by_role("button", name="1 duplicates").click()
        wait_text(page, "#count", "3 events")
        wait_pressed(page, "is:duplicate", pressed=False)

    def test_a_counter_keeps_the_other_terms_of_the_filter(
        self, page: Page, server: LocalServer
    ) -> None:
        send(server, made("a", properties={"note": "x is:refused y"}), made("b", properties=[]))
        filter_by(page, '"x is:refused y" -is:duplicate', "1 of 2 events")
        page.click("[data-term='is:accepted']")
        wait_text(page, "#count", "1 of 2 events")
        assert page.input_value("#filter") == '"x is:refused y" is:accepted'

    def test_counters_of_requests_open_their_view(self, page: Page, server: LocalServer) -> None:
        send(server, made("a"))
        post(server, BATCH, b"{")
        post(server, "/v1/identify", {"external_user_id": "u"})
        wait_text(page, "#total-failed", "1")
        page.get_by_role("button", name="failed requests").click()
        wait_text(page, "#count", "1 of 3 requests")
        wait_pressed(page, "is:failed")
        page.click("[data-term='path:*/batch']")
        wait_text(page, "#count", "1 of 3 requests")
        page.click("[data-term='is:failed']")
        wait_text(page, "#count", "2 of 3 requests")
        page.locator("#agents").get_by_role("button").first.click()
        wait_text(page, "#count", "2 of 3 requests")
        page.click("[data-term='is:accepted']")
        wait_text(page, "#count", "2 events")
        assert page.title() == "(1) whisperr dev"


class TestNoMatch:
    def test_a_filter_without_a_match_says_so_and_can_be_cleared(
        self, page: Page, server: LocalServer
    ) -> None:
        send(server, made("a"))
        wait_text(page, "#count", "1 event")
        page.fill("#filter", "user:zoe")
        page.wait_for_selector("#no-match:visible")
        assert text(page, "#no-match-text") == "Searched 1 event: no match for user:zoe."
        assert page.get_attribute("#no-match-text", "role") == "status"
        assert not page.locator("#older").is_visible()
        page.get_by_role("button", name="Clear the filter").click()
        page.wait_for_selector(".row")
        assert page.evaluate("() => document.activeElement.id") == "filter"

    @pytest.mark.parametrize("view", ["types", "requests"])
    def test_every_view_says_it(self, page: Page, server: LocalServer, view: str) -> None:
        send(server, made("a"))
        page.click(f"[data-tab={view}]")
        page.fill("#filter", "nothing-like-this")
        page.wait_for_selector("#no-match-text:has-text('no match for nothing-like-this')")

    def test_a_time_without_a_match_can_be_cleared(self, page: Page, server: LocalServer) -> None:
        send(server, made("a"))
        wait_text(page, "#count", "1 event")
        page.evaluate("() => { location.hash = 'from=1000&to=2000'; }")
        page.wait_for_selector("#no-match-text:has-text('no match for the time from')")
        page.get_by_text("Show all times").click()
        page.wait_for_selector(".row")


class TestOlder:
    def test_older_events_are_named_and_loaded_from_the_server(
        self, page: Page, server: LocalServer
    ) -> None:
        send(server, made("first", external_user_id="ada", event_type="account_created"))
        for part in range(13):
            send(server, *(made(f"{part}-{number}") for number in range(500)))
        wait_text(page, "#count", "latest 5,000 of 6,501 events")
        assert "1,501 older ones are only on the server" in text(page, "#older")
        page.fill("#filter", "user:ada")
        wait_text(page, "#count", "0 of the latest 5,000 events")
        assert "Searched the latest 5,000 events" in text(page, "#no-match-text")
        page.get_by_role("button", name="Search them").click()
        page.wait_for_selector(".row:has-text('account_created')")
        assert not page.locator("#older").is_visible()
        page.keyboard.press("j")
        wait_text(page, "#detail-id", "first")
        page.reload()  # which drops it from the page
        wait_text(page, "#detail-id", "first")
        page.click("#detail-open-request")
        page.locator("#request-events").get_by_role("button").click()
        wait_text(page, "#detail-id", "first")
        wait_text(page, "#count", "latest 5,000 of 6,501 events")

    def test_older_ones_are_loaded_in_parts_and_in_order(
        self, page: Page, server: LocalServer
    ) -> None:
        for part in range(13):
            send(server, *(made(f"{part}-{number}") for number in range(500)))
        wait_text(page, "#count", "latest 5,000 of 6,500 events")
        page.wait_for_selector("#older:has-text('1,500 older ones are only on the server')")
        page.wait_for_function(  # two or three times, by how many the page holds
            """() => {
                const button = document.getElementById("older-load");
                if (button.checkVisibility() && !button.disabled) button.click();
                return document.getElementById("count").textContent === "6,500 events";
            }"""
        )
        page.wait_for_selector("#older", state="hidden")
        page.evaluate("() => { list.scrollTop = list.scrollHeight; }")
        page.wait_for_selector(".row[aria-posinset='6500']")
        numbers = page.evaluate(
            "() => [...document.querySelectorAll('.row')].map(r => "
            "Number(r.ariaPosInSet) + Number(r.dataset.seq))"
        )
        assert set(numbers) == {6_501}  # every event once, without a gap

    def test_a_search_that_fails_is_reported(self, page: Page, server: LocalServer) -> None:
        for part in range(11):
            send(server, *(made(f"{part}-{number}") for number in range(500)))
        wait_text(page, "#count", "latest 5,000 of 5,500 events")
        page.route("**/_dev/arrivals?*", lambda route: route.abort())
        page.click("#older-load")
        page.wait_for_selector("#notice:has-text('older events could not be loaded')")
        page.unroute("**/_dev/arrivals?*")
        page.click("#older-load:enabled")
        wait_text(page, "#count", "5,500 events")


class TestCopy:
    def test_a_snippet_is_copied_with_the_keyboard_and_announced(
        self, context: BrowserContext, page: Page, server: LocalServer
    ) -> None:
        context.grant_permissions(["clipboard-read", "clipboard-write"])
        page.get_by_role("button", name="Copy the code").focus()
        page.keyboard.press("Enter")
        wait_text(page, "#notice", "copied")
        assert page.get_attribute("#notice", "role") == "status"
        assert SNIPPET in page.evaluate("() => navigator.clipboard.readText()")
        page.get_by_role("button", name="Flask").click()
        page.get_by_role("button", name="Copy the code").click()
        page.wait_for_function(
            "async () => (await navigator.clipboard.readText()).includes('Flask(__name__)')"
        )
        page.get_by_role("button", name="Copy the command that runs it").click()
        run = f"whisperr dev --port {server.port} -- python app.py"
        page.wait_for_function(
            "async run => (await navigator.clipboard.readText()) === run", arg=run
        )

    def test_a_snippet_is_copied_without_access_to_the_clipboard(self, page: Page) -> None:
        page.evaluate(WATCH_COPIES)
        page.evaluate(NO_CLIPBOARD)
        page.get_by_role("button", name="Copy the code").focus()
        page.keyboard.press("Enter")
        wait_text(page, "#notice", "copied")
        assert SNIPPET in page.evaluate("() => window.copied")
        name = page.evaluate("() => document.activeElement.getAttribute('aria-label')")
        assert name == "Copy the code"

    def test_a_snippet_that_cannot_be_copied_is_selected(self, page: Page) -> None:
        page.evaluate(NO_CLIPBOARD)
        page.evaluate("() => { document.execCommand = () => false; }")
        page.get_by_role("button", name="Copy the command that installs it").click()
        page.wait_for_selector("#notice:has-text('the text is selected')")
        assert page.evaluate("() => getSelection().toString()") == "pip install whisperr"


class TestShown:
    def test_numbers_and_strings_of_the_summary_look_different(
        self, page: Page, server: LocalServer
    ) -> None:
        send(server, made("a", properties={"a": 5, "b": "5", "c": None, "d": [1]}))
        page.wait_for_selector(".row")
        send(server, made("b", external_user_id="ada"))
        wait_text(page, "#count", "2 events")
        page.wait_for_selector(".row:has-text('ada')")
        shown = page.locator(".row", has_text="user_1").locator(".details").inner_text()
        assert shown == 'a=5b="5"c=nulld=[1]'
        colours = page.evaluate(
            "() => ['number', 'string'].map(kind => "
            "getComputedStyle(document.querySelector(`.value-${kind}`)).color)"
        )
        assert colours[0] != colours[1]

    def test_columns_have_names_above_them(self, page: Page, server: LocalServer) -> None:
        send(server, made("a"))
        page.wait_for_selector(".row")
        names = page.locator("#list .head span").all_inner_texts()
        assert names == ["Time", "", "Event", "User", "Properties"]
        tops = [".head span:nth-child(3)", ".row .name"]
        left = [page.locator(f"#list {name}").bounding_box() for name in tops]
        assert left[0]
        assert left[1]
        assert left[0]["x"] == pytest.approx(left[1]["x"], abs=1)

    def test_the_bars_take_less_room_when_there_is_little_to_show(
        self, page: Page, server: LocalServer
    ) -> None:
        assert not page.locator("#chart").is_visible()
        heights = []
        for number in (1, 40):
            send(server, *(made(f"{number}-{one}") for one in range(number)))
            size = "low" if number == 1 else "high"
            page.wait_for_selector(f".band[data-size={size}]")
            box = page.locator("#chart").bounding_box()
            assert box
            heights.append(box["height"])
        assert heights[0] < heights[1] / 1.5

    def test_no_word_breaks_on_a_phone(self, page: Page, server: LocalServer) -> None:
        page.set_viewport_size({"width": 390, "height": 844})
        send(server, made("a", properties={"amount_cents": 4900, "reason": "insufficient_funds"}))
        send(server, made("b", properties=[]))
        post(server, BATCH, b"{")
        wait_text(page, "#count", "2 events")
        shown = {
            "": ".row",
            "view=types": ".type",
            "view=requests": ".request",
            "view=requests&request=3": "#request:not([aria-busy])",
            "event=2": "#detail:not([aria-busy])",
            "q=user:zoe": "#no-match",
        }
        for address, selector in shown.items():
            page.evaluate("address => { location.hash = address || 'view=events'; }", address)
            page.wait_for_selector(f"{selector}:visible")
            broken = page.evaluate(
                """() => {
                    const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
                    const found = [];
                    while (walk.nextNode()) {
                        const { data, parentElement } = walk.currentNode;
                        if (!parentElement.checkVisibility() || parentElement.closest("pre"))
                            continue;
                        for (const { 0: word, index } of data.matchAll(/[^\\s\\/-]{2,30}/g)) {
                            const range = document.createRange();
                            range.setStart(walk.currentNode, index);
                            range.setEnd(walk.currentNode, index + word.length);
                            const boxes = [...range.getClientRects()];
                            const tops = new Set(boxes.map(box => Math.round(box.top)));
                            if (tops.size > 1) found.push(word);
                        }
                    }
                    return found;
                }"""
            )
            assert broken == [], address
