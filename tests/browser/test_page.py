"""The page in a real browser: what arrives, the filter, users, faults, the keyboard."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.browser.conftest import get_names, open_page
from tests.dev.wire import BATCH, event, post
from whisperr.dev import LocalServer, faults

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page

    from whisperr import Whisperr

TABLE: Any = json.loads(
    (Path(__file__).parents[1] / "dev" / "filter_cases.json").read_text(encoding="utf-8")
)


def now(**ago: float) -> str:
    moment = datetime.now(timezone.utc) - timedelta(**ago)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.000Z")


def send(server: LocalServer, *events: dict[str, Any]) -> None:
    body = {"events": [{"occurred_at": now(), **one} for one in events]}
    assert post(server, BATCH, body)[0] == 202


def made(message_id: str, **changes: Any) -> dict[str, Any]:
    return event(message_id, **{"occurred_at": now(), **changes})


def text(page: Page, selector: str) -> str:
    return page.locator(selector).inner_text()


def wait_text(page: Page, selector: str, expected: str) -> None:
    page.wait_for_function(
        "([selector, expected]) => document.querySelector(selector)?.textContent === expected",
        arg=[selector, expected],
    )


def filter_by(page: Page, query: str, count: str) -> None:
    page.fill("#filter", query)
    wait_text(page, "#count", count)


class TestArrival:
    def test_an_empty_page_shows_how_to_begin(self, page: Page, server: LocalServer) -> None:
        assert text(page, "#empty-title") == "Nothing has arrived yet"
        run = f"whisperr dev --port {server.port} -- python app.py"
        assert text(page, "#empty pre >> nth=0") == "pip install whisperr"
        assert page.locator("#empty pre").filter(has_text=run).is_visible()
        page.get_by_text("set two variables").click()
        assert page.locator("#empty pre").filter(has_text=server.url).is_visible()
        page.get_by_role("button", name="FastAPI").click()
        assert "lifespan" in text(page, "#snippet-fastapi")
        assert not page.locator("#snippet-python").is_visible()

    def test_events_appear_as_they_arrive(
        self, page: Page, server: LocalServer, client: Whisperr
    ) -> None:
        client.track("user_8842", "payment_failed", {"amount_cents": 4900})
        page.wait_for_selector(".row")
        client.identify("user_8842", email="ada@example.com")
        assert client.flush(30)
        send(server, made("x", properties=[]), made("y"), made("y"))
        wait_text(page, "#count", "5 events")
        assert get_names(page) == ["trial_started"] * 3 + ["identify", "payment_failed"]
        totals = {"accepted": "3", "refused": "1", "duplicates": "1", "batches": "2"}
        assert {name: text(page, f"#total-{name}") for name in totals} == totals
        assert text(page, "#agents").startswith("whisperr-python/")
        assert page.title() == "(1) whisperr dev"

    def test_pause_resumes_without_a_gap(self, page: Page, server: LocalServer) -> None:
        send(server, made("a"))
        wait_text(page, "#count", "1 event")
        page.click("#pause")
        wait_text(page, "#connection-text", "paused")
        send(server, made("b"), made("c"))
        assert text(page, "#count") == "1 event"
        page.click("#pause")
        wait_text(page, "#count", "3 events")

    def test_clear_deletes_on_both_sides(self, page: Page, server: LocalServer) -> None:
        send(server, made("a"))
        wait_text(page, "#count", "1 event")
        page.click("#clear")
        page.wait_for_selector("#empty:visible")
        assert server.arrivals() == []
        send(server, made("a"))
        wait_text(page, "#count", "1 event")

    def test_it_resumes_when_the_server_restarts(
        self, context: BrowserContext, tmp_path: Path
    ) -> None:
        with LocalServer(store=tmp_path / "kept") as server:
            page, wrong = open_page(context, server)
            page.goto(server.url)
            send(server, made("a"))
            wait_text(page, "#count", "1 event")
            server.close()
            wait_text(page, "#connection-text", "reconnecting")
            with LocalServer(server.port, store=tmp_path / "kept") as again:
                send(again, made("b"))
                wait_text(page, "#count", "2 events")
                wait_text(page, "#connection-text", "connected")
            with LocalServer(server.port) as other:  # of another epoch: what was held is dropped
                send(other, made("c"))
                wait_text(page, "#count", "1 event")
                page.goto("about:blank")
        assert wrong == []

    def test_five_thousand_events_arrive_without_a_stall(
        self, page: Page, server: LocalServer
    ) -> None:
        page.evaluate(
            """() => {
                window.longest = 0;
                new PerformanceObserver(list => {
                    for (const one of list.getEntries())
                        window.longest = Math.max(window.longest, one.duration);
                }).observe({entryTypes: ["longtask"]});
            }"""
        )
        for part in range(12):
            events = [
                made(f"{part}-{number}", external_user_id=f"user_{number}") for number in range(500)
            ]
            send(server, *events)
        wait_text(page, "#total-accepted", "6,000")
        wait_text(page, "#count", "latest 5,000 of 6,000 events")
        assert page.locator("#list .row").count() < 80
        assert page.locator("#users li").count() == 100
        assert page.evaluate("() => document.querySelectorAll('*').length") < 2_000
        # A generous bound for a busy machine: a longer task would feel like a hang.
        assert page.evaluate("() => window.longest") < 2_000
        page.locator("#list").evaluate("list => { list.scrollTop = list.scrollHeight / 2; }")
        page.wait_for_function("() => Number(document.querySelector('.row').ariaPosInSet) > 1000")
        assert page.locator("#list .row").count() < 80


class TestFilter:
    def test_the_grammar_is_the_one_of_the_server(self, page: Page) -> None:
        found = page.evaluate(
            """async text => {
                const table = JSON.parse(text);  // a name such as __proto__ stays one
                const { parseFilter } = await import("/_dev/page/filter.js");
                const arrivals = Object.entries(table.arrivals);
                const error = query => {
                    try { parseFilter(query); } catch (e) { return e.message; }
                };
                return [
                    table.cases.map(([query]) => arrivals.filter(
                        ([, one]) => parseFilter(query)(one)).map(([name]) => name)),
                    table.errors.map(([query]) => error(query)),
                    error("x".repeat(2001)),
                ];
            }""",
            json.dumps(TABLE),
        )
        expected = [names for _, names in TABLE["cases"]]
        wrong = [
            (case, names)
            for case, names, right in zip(TABLE["cases"], found[0], expected, strict=True)
            if names != right
        ]
        assert wrong == []
        assert found[1] == [message for _, message in TABLE["errors"]]
        assert "at most 2000" in found[2]

    def test_it_is_mirrored_in_the_address_and_read_from_it(
        self, page: Page, server: LocalServer
    ) -> None:
        send(server, made("a"), made("b", event_type="payment_failed", properties={"amount": 150}))
        wait_text(page, "#count", "2 events")
        filter_by(page, "type:payment_* amount>100", "1 of 2 events")
        assert get_names(page) == ["payment_failed"]
        assert page.url.endswith("#q=type%3Apayment_*+amount%3E100")
        page.reload()
        wait_text(page, "#count", "1 of 2 events")
        assert page.input_value("#filter") == "type:payment_* amount>100"

    def test_a_wrong_filter_is_reported_and_the_last_valid_one_stays(
        self, page: Page, server: LocalServer
    ) -> None:
        send(server, made("a"), made("b", external_user_id="user_2"))
        filter_by(page, "user:user_2", "1 of 2 events")
        page.fill("#filter", "user:user_2 colour:red")
        page.wait_for_selector("#filter-error:has-text('colour: is not a field')")
        assert page.get_attribute("#filter", "aria-invalid") == "true"
        assert text(page, "#count") == "1 of 2 events"
        filter_by(page, "", "2 events")
        assert not page.locator("#filter-error").is_visible()

    def test_a_time_is_selected_in_the_bars(self, page: Page, server: LocalServer) -> None:
        send(server, made("a"))
        wait_text(page, "#count", "1 event")
        box = page.locator("#chart").bounding_box()
        assert box
        page.mouse.move(box["x"] + box["width"] * 0.2, box["y"] + 20)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] * 0.4, box["y"] + 20)
        page.mouse.up()
        wait_text(page, "#count", "0 of 1 event")
        assert "from=" in page.url
        page.click("#range-clear")
        wait_text(page, "#count", "1 event")
        page.focus("#chart")
        page.keyboard.press("ArrowLeft")
        for _ in range(12):  # a minute, also where the machine is slow
            page.keyboard.press("Shift+ArrowLeft")
        wait_text(page, "#count", "1 event")
        assert page.locator("#range").is_visible()


class TestUsers:
    def test_one_users_story_has_gaps_traits_and_channels(
        self, page: Page, server: LocalServer, client: Whisperr
    ) -> None:
        send(
            server,
            made("b", external_user_id="ada", occurred_at=now(minutes=10)),
            made("a", external_user_id="ada", occurred_at=now(minutes=13, seconds=12)),
            made("c", external_user_id="bob"),
        )
        client.identify("ada", email="ada@example.com", traits={"plan": "pro"})
        client.flush(30)
        wait_text(page, "#count", "4 events")
        page.locator(".user", has_text="ada").click()
        page.wait_for_selector(".story-event")
        gaps = page.locator(".story-event .gap").all_inner_texts()
        assert gaps[:2] == ["first", "+3 m 12 s"]
        known = text(page, "#story-known")
        assert "plan" in known
        assert "pro" in known
        assert "ada@example.com, opted in" in known
        assert "user=ada" in page.url
        page.keyboard.press("Escape")
        page.wait_for_selector(".row")

    def test_the_list_has_counts_and_the_last_event(self, page: Page, server: LocalServer) -> None:
        send(server, made("a"), made("a"), made("b", properties=[]))
        send(server, made("c", external_user_id="bob", event_type="payment_failed"))
        wait_text(page, "#count", "4 events")
        first, second = page.locator(".user").all_inner_texts()
        assert first.startswith("bob")
        assert "payment_failed" in first
        assert all(count in second for count in ("✓ 1", "✗ 1", "= 1"))


class TestFaults:
    def test_a_switch_injects_a_fault_and_the_reaction_is_shown(
        self, page: Page, server: LocalServer, client: Whisperr
    ) -> None:
        page.click("#faults-button")
        page.get_by_role("switch", name="Outage").check()
        wait_text(page, "#faults-button", "Faults on: 1")
        assert [fault.code for fault in server.faults] == [503]
        client.track("user_1", "trial_started")
        page.wait_for_selector("#reactions .failure")
        page.get_by_role("switch", name="Outage").uncheck()
        page.wait_for_selector("#reactions .recovery:has-text('delivered by retry')")
        assert server.faults == ()
        assert server.wait(1)

    def test_one_status_replaces_another_and_delays_join(
        self, page: Page, server: LocalServer
    ) -> None:
        page.click("#faults-button")
        for name, expected in (
            ("Wrong key", ["status"]),
            ("Rate limit", ["status"]),
            ("Slow", ["latency", "status"]),
            ("Lost answers", ["latency", "status", "lose_answer"]),
        ):
            page.get_by_role("switch", name=name).check()
            wait_text(page, "#faults-button", f"Faults on: {len(expected)}")
            assert [fault.kind for fault in server.faults] == expected
        assert [(f.code, f.retry_after) for f in server.faults][1] == (429, "5")

    def test_a_fault_from_elsewhere_is_shown_and_can_be_switched_off(
        self, page: Page, server: LocalServer
    ) -> None:
        server.set_faults(faults.status(500, rate=0.3))
        wait_text(page, "#faults-button", "Faults on: 1")
        page.click("#faults-button")
        page.get_by_role("switch", name="HTTP 500, 30 %").click()
        wait_text(page, "#faults-button", "Inject faults")
        assert server.faults == ()


class TestTypes:
    def test_drift_nulls_and_near_names_are_shown(self, page: Page, server: LocalServer) -> None:
        for number in range(4):
            send(server, made(f"a{number}", properties={"amount": number, "note": None}))
        send(server, made("b", properties={"amount": "5", "note": "x", "amounts": 1}))
        send(server, made("c", event_type="trial_startet"))
        wait_text(page, "#count", "6 events")
        page.click("[data-tab=types]")
        page.wait_for_selector(".type")
        shown = text(page, "#types")
        for part in (
            "the name is nearly trial_startet",
            "amount was once a string, otherwise a number",
            "amount and amounts are nearly the same name",
            "number 4, string 1",
            "80 %",
        ):
            assert part in shown
        page.get_by_role("button", name="show it").click()
        wait_text(page, "#detail-id", "b")

    def test_names_are_near(self, page: Page) -> None:
        pairs = {
            ("plan_id", "planId"): True,
            ("payment_failed", "payments_failed"): True,
            ("amount", "ammount"): True,
            ("amount", "amonut"): False,
            ("seat", "seats"): False,
            ("step_1", "step_2"): False,
            ("step_taken", "step_taken_2"): False,
            ("amount", "count"): False,
        }
        found = page.evaluate(
            """async pairs => {
                const { isNear } = await import("/_dev/page/types.js");
                return pairs.map(([one, other]) => [isNear(one, other), isNear(other, one)]);
            }""",
            [list(pair) for pair in pairs],
        )
        assert dict(zip(pairs, found, strict=True)) == {
            pair: [expected] * 2 for pair, expected in pairs.items()
        }


class TestKeyboard:
    def test_slash_j_k_and_escape(self, page: Page, server: LocalServer) -> None:
        send(server, *(made(str(number), event_type=f"type_{number}") for number in range(3)))
        wait_text(page, "#count", "3 events")
        page.keyboard.press("j")
        wait_text(page, "#detail-name", "type_2")
        page.keyboard.press("j")
        wait_text(page, "#detail-name", "type_1")
        page.keyboard.press("k")
        wait_text(page, "#detail-name", "type_2")
        page.keyboard.press("Escape")
        page.wait_for_selector("#detail", state="hidden")
        page.keyboard.press("/")
        page.keyboard.type("jk")
        assert page.input_value("#filter") == "jk"
        page.keyboard.press("Escape")
        page.keyboard.press("Escape")
        assert page.input_value("#filter") == ""
