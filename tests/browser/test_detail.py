"""One event in the browser: what is shown and copied, hostile text, accessibility."""

from __future__ import annotations

import json
import shlex
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest

from tests.browser.test_page import made, send, text, wait_text
from tests.dev.wire import BATCH, call, post
from whisperr import Whisperr
from whisperr.dev import LocalServer

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page

SCRIPT = "<script>window.broken = 1</script><img src=x onerror='window.broken = 1'>"
TRICKY = {"quote": 'it\'s "so" $HOME `id`\\', "line": "a\nb", "unseen": "\u202e\u200b", "zoë": "✓"}


def open_only(page: Page, count: str = "1 event") -> None:
    """Open the detail of the latest event once this many are there."""
    wait_text(page, "#count", count)
    page.keyboard.press("j")
    page.wait_for_selector("#detail:not([aria-busy])")


def copy(page: Page, name: str) -> str:
    page.click(f"#copy-{name}")
    wait_text(page, "#notice", f"copied: {text(page, f'#copy-{name}')}")
    return str(page.evaluate("() => navigator.clipboard.readText()"))


@pytest.fixture
def context(context: BrowserContext) -> BrowserContext:
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    return context


class TestShown:
    def test_an_event_is_shown_as_it_was_sent(self, page: Page, server: LocalServer) -> None:
        raw = json.dumps(made("a")).replace("{}", '{"amount" : 19.90, "id": 12345678901234567890}')
        post(server, BATCH, f'{{"events": [{raw}]}}'.encode())
        open_only(page)
        assert '"amount": 19.90' in text(page, "#detail-pretty")
        assert "12345678901234567890" in text(page, "#detail-pretty")
        page.get_by_text("As sent").click()
        assert text(page, "#detail-raw") == raw
        page.locator("summary", has_text="Request").click()
        assert text(page, "#detail-request-line") == "POST /v1/events/batch, answered 202"
        assert "wrk_…" in text(page, "#detail-headers")

    def test_a_refused_event_shows_its_problems_and_hints(
        self, page: Page, server: LocalServer
    ) -> None:
        send(server, made("a", external_user_id=42))
        open_only(page)
        shown = text(page, "#detail-problems")
        assert "/external_user_id" in shown
        for part in (
            "arrived\n42",
            "allowed\na string that is not empty",
            "fix\nSend the user's id",
        ):
            assert part in shown

    def test_what_the_list_cannot_hold_is_fetched(self, page: Page, server: LocalServer) -> None:
        send(server, made("a", properties={"text": "x" * 40_000}))
        open_only(page)
        assert text(page, ".row .details") == "too large for the list; open it"
        page.get_by_text("As sent").click()
        assert "x" * 40_000 in text(page, "#detail-raw")

    def test_an_address_opens_an_event(self, page: Page, server: LocalServer) -> None:
        send(server, made("a"), made("b"))
        wait_text(page, "#count", "2 events")
        page.goto(f"{server.url}/#event=1")
        page.reload()
        wait_text(page, "#detail-id", "a")


class TestCopies:
    def test_json_is_the_text_itself(self, page: Page, server: LocalServer) -> None:
        send(server, made("a", properties=TRICKY))
        open_only(page)
        assert json.loads(copy(page, "json"))["properties"] == TRICKY

    @pytest.mark.parametrize("kind", ["event", "identify"])
    def test_curl_sends_the_same_and_holds_no_key(
        self, page: Page, server: LocalServer, kind: str
    ) -> None:
        if kind == "event":
            send(server, made("a", properties=TRICKY))
        else:
            post(server, "/v1/identify", {"external_user_id": "u", "traits": TRICKY})
        open_only(page)
        command = copy(page, "curl")
        assert "wrk_" not in command
        assert '-H "X-API-Key: $WHISPERR_API_KEY"' in command
        words = shlex.split(command.replace("\\\n", " "))
        path = words[2].removeprefix(server.url)
        body = words[words.index("--data-binary") + 1]
        assert call(server, "POST", path, body.encode())[0] == 202
        first, second = server.arrivals()
        assert (first.kind, first.body) == (second.kind, second.body)

    @pytest.mark.parametrize(
        "more",
        [
            {"properties": {**TRICKY, "deep": {"list": [1, None, True]}}},
            {"context": {"$message_id": "a", "sdk_name": "x", "app_version": "2.1"}},
        ],
        ids=["properties", "context"],
    )
    def test_python_makes_the_same_event(
        self, page: Page, server: LocalServer, more: dict[str, Any]
    ) -> None:
        send(server, made("a", **more))
        open_only(page)
        code = copy(page, "python")
        with LocalServer() as other, Whisperr("wrk_test", base_url=other.url) as client:
            exec(code, {"whisperr": client})
            client.flush(30)
            (arrival,) = other.arrivals()
        (sent,) = (one.body for one in server.arrivals())
        same = ("external_user_id", "event_type", "occurred_at", "properties")
        assert [arrival.body[key] for key in same] == [sent[key] for key in same]
        assert arrival.body["context"].get("app_version") == sent["context"].get("app_version")

    def test_python_makes_the_same_identify(self, page: Page, server: LocalServer) -> None:
        body = {
            "external_user_id": "ada",
            "anonymous_id": "3f2c",
            "traits": TRICKY,
            "preferred_channel": "email",
            "channels": [{"channel": "email", "address": "ada@example.com", "verified": True}],
        }
        post(server, "/v1/identify", body)
        open_only(page)
        code = copy(page, "python")
        with LocalServer() as other, Whisperr("wrk_test", base_url=other.url) as client:
            exec(code, {"whisperr": client})
            client.flush(30)
            assert [arrival.body for arrival in other.arrivals()] == [body]

    @pytest.mark.parametrize("kind", ["event", "identify"])
    def test_no_name_of_an_arrival_is_ever_code(
        self, page: Page, server: LocalServer, kind: str
    ) -> None:
        names = [
            "x=broken.append(1),y",
            "a\nbroken.append(2)#",
            "'",
            '"',
            "class",
            "",
            "\u2028",
            "1",
        ]
        names += ["**broken", "\U000e0041", "\ud800", "{broken}", "\\", "__proto__", "x)#"]
        flat = dict.fromkeys(names, 1)
        odd = {**flat, "deep": {**flat, "list": [flat]}}
        if kind == "event":
            post(server, BATCH, {"events": [made("a", properties=odd)]})
        else:
            post(server, "/v1/identify", {"external_user_id": "u", "traits": odd, **odd})
        open_only(page)
        calls: list[dict[str, Any]] = []

        class Recorder:
            def track(self, _user: str, _type: str, properties: Any, **_: Any) -> None:
                calls.append(properties)

            def identify(self, _user: str, **fields: Any) -> None:
                calls.append(fields.pop("traits"))
                calls.append(fields)

        broken: list[int] = []
        exec(copy(page, "python"), {"whisperr": Recorder(), "broken": broken})
        assert broken == []
        assert len(calls) == (1 if kind == "event" else 2)
        for made_call in calls:
            # A browser keeps no member of this one name, and this one value is not compared.
            assert {n: v for n, v in made_call.items() if n not in {"__proto__", "deep"}} == {
                n: v for n, v in flat.items() if n != "__proto__"
            }

    def test_pytest_asserts_what_is_there(self, page: Page, server: LocalServer) -> None:
        send(server, made("a", properties={**TRICKY, "amount": 19.9}))
        send(server, made("b", properties=[], event_type="Bad [x]"))
        post(server, "/v1/identify", {"external_user_id": "ada", "traits": {"plan": "pro"}})
        for _ in range(3):
            open_only(page, "3 events")
            code = copy(page, "pytest")
            exec(code, {"server": server})
            code = code.replace("server.wait(", "server.wait(timeout=0.01, ")
            with LocalServer() as empty:
                send(empty, made("c", external_user_id="other"))
                with pytest.raises((AssertionError, TimeoutError)):
                    exec(code, {"server": empty})

    def test_a_copied_moment_is_the_moment(self, page: Page, server: LocalServer) -> None:
        send(server, made("a"))
        open_only(page)
        code = copy(page, "python")
        moment = code.split('fromisoformat("')[1].split('"')[0]
        sent = server.arrivals()[0].body["occurred_at"]
        assert datetime.fromisoformat(moment) == datetime.fromisoformat(sent.replace("Z", "+00:00"))


class TestHostile:
    def test_script_in_every_field_stays_text(self, page: Page, server: LocalServer) -> None:
        odd: list[Any] = [
            made(SCRIPT, external_user_id=SCRIPT, properties={SCRIPT: SCRIPT, "a": [{SCRIPT: 1}]}),
            made("b", event_type=SCRIPT, external_user_id=SCRIPT, occurred_at=SCRIPT),
            {SCRIPT: SCRIPT},
            SCRIPT,
            None,
            {"external_user_id": ["x"], "event_type": {"a": 1}, "context": {"__proto__": SCRIPT}},
            made("c", properties={"__proto__": {"x": 1}, "constructor": SCRIPT, "toString": 1}),
        ]
        headers = {"User-Agent": SCRIPT, "X-Odd": SCRIPT}
        assert post(server, BATCH, {"events": odd}, **headers)[0] == 202
        identify = {"external_user_id": SCRIPT, "traits": {SCRIPT: SCRIPT, "__proto__": SCRIPT}}
        post(server, "/v1/identify", {**identify, "channels": [{"channel": SCRIPT, "address": 1}]})
        post(
            server,
            "/v1/identify",
            {**identify, "channels": [{"channel": "email", "address": SCRIPT}]},
        )
        post(
            server,
            BATCH,
            b'{"events":[{"a":1e999}, {"a":"\\ud800"}, ' + b"[" * 500 + b"]" * 500 + b"]}",
        )
        wait_text(page, "#count", "12 events")
        for _ in range(12):
            page.keyboard.press("j")
            page.wait_for_selector("#detail:not([aria-busy])")
            for name in ("curl", "python", "pytest", "json"):
                page.click(f"#copy-{name}")
        page.locator(".user", has_text="<script>").first.click()
        page.wait_for_selector(".story-event")
        page.click("[data-tab=types]")
        page.wait_for_selector(".type")
        page.fill("#filter", f"is:{SCRIPT}")
        page.wait_for_selector("#filter-error:has-text('is:<script>window.broken')")
        page.fill("#filter", '"<script>"')
        assert page.evaluate("() => window.broken") is None
        assert page.locator("main script, main img, aside img, header script").count() == 0
        assert SCRIPT in page.get_attribute("#agents", "title")  # type: ignore[operator]  # is set

    def test_the_policy_keeps_inline_script_and_markup_out(self, context: BrowserContext) -> None:
        with LocalServer() as server:
            page = context.new_page()
            page.goto(server.url)
            texts: list[str] = []
            page.on("console", lambda message: texts.append(message.text))
            refused = page.evaluate(
                """() => {
                    const script = document.createElement("script");
                    const text = "window.broken = 1";
                    try { script.text = text; document.body.append(script); } catch {}
                    try { document.body.innerHTML = "<b>x</b>"; } catch (e) { return e.name; }
                }"""
            )
            assert refused == "TypeError"
            assert page.evaluate("() => window.broken") is None
            assert any("Content Security Policy" in line or "TrustedHTML" in line for line in texts)


class TestAccessibility:
    def test_landmarks_and_names(self, page: Page, server: LocalServer) -> None:
        send(server, made("a"))
        open_only(page)
        roles: list[Any] = ["banner", "main", "navigation", "search", "contentinfo"]
        for role in roles:
            assert page.get_by_role(role).count() == 1, role
        unnamed = page.evaluate(
            """() => [...document.querySelectorAll(
                "button, input, select, [role=listbox], svg, pre, section, aside, nav")]
                .filter(e => e.checkVisibility())
                .filter(e => !(e.ariaLabel || e.getAttribute("aria-labelledby")
                    || e.textContent.trim() || e.labels?.length))
                .map(e => e.outerHTML.slice(0, 80))"""
        )
        assert unnamed == []
        assert page.locator("h1").count() == 1
        assert page.get_attribute("html", "lang") == "en"
        ids = page.evaluate("() => [...document.querySelectorAll('[id]')].map(e => e.id)")
        assert len(ids) == len(set(ids))

    def test_everything_is_reached_and_seen_with_tab(self, page: Page, server: LocalServer) -> None:
        send(server, made("a"))
        open_only(page)
        reached = set()
        for _ in range(40):
            page.keyboard.press("Tab")
            reached.add(page.evaluate("() => document.activeElement.id"))
            assert page.evaluate(
                "() => document.activeElement === document.body || "
                "getComputedStyle(document.activeElement).outlineStyle !== 'none'"
            )
        assert {"pause", "clear", "theme", "chart", "filter", "list", "copy-json"} <= reached

    @pytest.mark.parametrize("scheme", ["light", "dark"])
    def test_it_fits_a_phone_in_both_themes(
        self, page: Page, server: LocalServer, scheme: Any
    ) -> None:
        page.emulate_media(color_scheme=scheme)
        page.set_viewport_size({"width": 375, "height": 740})
        send(server, made("a", external_user_id="u" * 200, properties={"k" * 300: "v" * 300}))
        send(server, made("b", event_type="x" * 300, properties=[]))
        wait_text(page, "#count", "2 events")
        addresses = {
            "view=events": ".row",
            "view=users": ".user",
            "view=types": ".type",
            f"user={'u' * 200}": ".story-event",
            "event=1": "#detail-name",
            "view=requests": ".request",
            "view=requests&request=1": "#request-events li",
        }
        for address, shown in addresses.items():
            page.evaluate("address => { location.hash = address; }", address)
            page.wait_for_selector(shown)
            width = page.evaluate("() => document.documentElement.scrollWidth")
            assert width <= 375, address
        dark = page.evaluate("() => getComputedStyle(document.body).backgroundColor")
        assert dark == {"light": "rgb(245, 245, 242)", "dark": "rgb(19, 21, 26)"}[scheme]

    def test_the_theme_can_be_switched_and_is_kept(self, page: Page) -> None:
        for expected in ("light", "dark"):
            page.click("#theme")
            assert page.get_attribute("html", "data-theme") == expected
        page.reload()
        assert page.get_attribute("html", "data-theme") == "dark"


class TestWebhooks:
    def test_a_signal_shows_its_webhook(
        self, page: Page, server: LocalServer
    ) -> None:
        first, second = "evt_1", "evt_2"
        send(server, signal(f"{first}:membership_started", first))
        send(server, signal(f"{first}:billing_recovered", first))
        send(server, signal(f"{second}:renewal_succeeded", second))
        open_only(page, "3 events")
        wait_text(page, "#detail-webhook", f"stripe {second} invoice.paid")
        page.keyboard.press("j")
        wait_text(page, "#detail-webhook", f"stripe {first} invoice.paid")
        page.click("#detail-webhook")
        wait_text(page, "#count", "2 of 3 events")
        assert page.input_value("#filter") == "context.provider_event_id=evt_1"
        wait_text(page, "#detail-webhook", "stripe evt_1 invoice.paid")

    @pytest.mark.parametrize("given", [{}, {"provider_event_id": 1}, []])
    def test_other_events_have_none(self, page: Page, server: LocalServer, given: object) -> None:
        send(server, made("a", context=given))
        open_only(page)
        assert not page.locator("#detail-webhook").is_visible()


def signal(message_id: str, webhook: str) -> dict[str, Any]:
    context = {
        "$message_id": message_id,
        "provider": "stripe",
        "provider_event_id": webhook,
        "provider_event_type": "invoice.paid",
    }
    return made(message_id, context=context)
