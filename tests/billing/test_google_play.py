"""The notifications of Google Play in order and out of order, and where the purchase comes from."""

from __future__ import annotations

import base64
import json
import sys
from contextlib import nullcontext
from datetime import timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.billing.cases import NOW, Case
from tests.billing.cases.google_play import (
    CASES,
    ENDS,
    GRACE,
    OLD_TOKEN,
    ORDER,
    TOKEN,
    USER,
    build,
    buy,
    cancel,
    push,
    renew,
    void,
)
from tests.billing.test_providers import MISSING, WRONG, get_paths
from tests.docs.page import get_blocks, get_names, get_rows
from whisperr import BillingEvent, Whisperr
from whisperr.billing import google_play
from whisperr.dev import LocalServer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from whisperr.billing import Signals

DAY = timedelta(days=1)
WITH_PURCHASE = [case for case in CASES if isinstance(case.arguments.get("purchase"), dict)]


class Shop:
    """A server that keeps the states in a dict."""

    def __init__(self) -> None:
        self.states: dict[str, Mapping[str, Any]] = {}

    def handle(self, payload: object, purchase: object, **given: Any) -> Signals:
        signals = google_play.signals(
            payload, purchase=lambda _: purchase, previous=self.states.get, **given
        )
        if signals.state:
            self.states[signals.state["key"]] = signals.state
        return signals


def get_types(signals: Signals) -> list[str]:
    return [signal.event_type for signal in signals]


def get_life() -> list[tuple[dict[str, Any], dict[str, Any], list[str]]]:
    """Return notifications of one purchase, each with the purchase and the events it means."""
    held: dict[str, Any] = {"state": "ON_HOLD", "ends": NOW - DAY}
    ended = cancel("userInitiated", order=f"{ORDER}..0", state="EXPIRED", ends=NOW)
    steps: list[tuple[int, dict[str, Any], list[str]]] = [
        (4, buy("freeTrial"), ["trial_started"]),
        (3, cancel("userInitiated", "freeTrial"), ["trial_auto_renew_disabled"]),
        (7, buy("freeTrial"), ["auto_renew_enabled"]),
        (6, buy("freeTrial", **GRACE), ["billing_issue_started"]),
        (5, buy("freeTrial", **held), []),
        (1, renew(), ["trial_converted", "billing_recovered"]),
        (2, renew(order=f"{ORDER}..1"), ["renewal_succeeded"]),
        (3, cancel("userInitiated"), ["auto_renew_disabled"]),
        (13, ended, ["membership_ended"]),
        (13, ended, []),
    ]
    start = NOW - DAY
    return [
        (
            push(number, message_id=f"m_{step}", at=start + timedelta(hours=step)),
            purchase,
            expected,
        )
        for step, (number, purchase, expected) in enumerate(steps)
    ]


def test_the_life_of_a_subscription_is_told_once() -> None:
    shop = Shop()
    for payload, purchase, expected in get_life():
        assert get_types(shop.handle(payload, purchase)) == expected


def test_a_life_that_is_delivered_twice_makes_the_same_ids() -> None:
    shop, again = Shop(), Shop()
    first = [shop.handle(payload, purchase) for payload, purchase, _ in get_life()]
    for (payload, purchase, _), signals in zip(get_life(), first, strict=True):
        assert again.handle(payload, purchase) == signals
        assert again.handle(payload, purchase) == signals
    late = [shop.handle(payload, purchase) for payload, purchase, _ in get_life()[:-1]]
    assert [get_types(signals) for signals in late] == [[] for _ in late]


def test_any_notification_in_a_trial_tells_the_state_that_it_is_one() -> None:
    for number in (3, 7):
        shop = Shop()
        shop.handle(push(number, message_id="m_1", at=NOW - DAY), buy("freeTrial"))
        assert get_types(shop.handle(push(2, message_id="m_2"), renew())) == ["trial_converted"]


def test_a_trial_that_ended_unpaid_says_nothing_of_the_next_purchase() -> None:
    shop = Shop()
    shop.handle(push(6, message_id="m_1", at=NOW - DAY, token=OLD_TOKEN), buy("freeTrial", **GRACE))
    ended = cancel("systemInitiated", "freeTrial", state="EXPIRED", ends=NOW - DAY)
    shop.handle(push(13, message_id="m_2", at=NOW - DAY / 2, token=OLD_TOKEN), ended)
    bought = buy(outOfAppPurchaseContext={"expiredPurchaseToken": OLD_TOKEN})
    assert get_types(shop.handle(push(4, message_id="m_3"), bought)) == ["membership_started"]
    renewed = push(2, message_id="m_4", at=NOW + DAY)
    assert get_types(shop.handle(renewed, renew())) == ["renewal_succeeded"]


def test_a_conversion_that_two_messages_tell_counts_once() -> None:
    shop = Shop()
    shop.handle(push(4, message_id="m_1", at=NOW - DAY), buy("freeTrial"))
    assert get_types(shop.handle(push(1, message_id="m_2"), renew())) == ["trial_converted"]
    assert get_types(shop.handle(push(2, message_id="m_3"), renew())) == []


def test_a_message_has_the_id_and_the_time_where_the_notification_has_none() -> None:
    body = push(7)
    del body["message"]["messageId"]
    about = {"subscriptionNotification": build(7)["subscriptionNotification"]}
    body["message"]["data"] = base64.b64encode(json.dumps(about).encode()).decode()
    (signal,) = google_play.signals(body, purchase=buy())
    assert (signal.message_id, signal.occurred_at) == ("136969346945:auto_renew_enabled", NOW)


def test_a_conversion_that_comes_after_newer_notifications_is_a_renewal() -> None:
    shop = Shop()
    (started, _, _), *_ = get_life()
    shop.handle(started, buy("freeTrial"))
    shop.handle(push(3, message_id="m_9", at=NOW), cancel("userInitiated", order=f"{ORDER}..0"))
    late = push(2, message_id="m_8", at=NOW - timedelta(hours=1))
    assert get_types(shop.handle(late, renew())) == ["renewal_succeeded"]
    (state,) = shop.states.values()
    assert (state["auto_renew"], state["event"]) == (False, "m_9")


def test_a_change_of_plan_in_a_trial_converts_with_the_new_token() -> None:
    shop = Shop()
    shop.handle(push(4, message_id="m_1", at=NOW - DAY, token=OLD_TOKEN), buy("freeTrial"))
    replaced = cancel("replacement", "freeTrial", state="EXPIRED")
    ended = push(13, message_id="m_2", at=NOW, token=OLD_TOKEN)
    new = "GPA.3302-1000-2000-30002"
    bought = buy("prorationPeriod", order=new, linkedPurchaseToken=OLD_TOKEN)
    changed = push(4, message_id="m_3", at=NOW + timedelta(seconds=1))
    renewed = renew(order=f"{new}..0", linkedPurchaseToken=OLD_TOKEN, ends=ENDS + 30 * DAY)
    assert get_types(shop.handle(ended, replaced)) == []
    assert get_types(shop.handle(changed, bought)) == []
    paid = push(2, message_id="m_4", at=ENDS)
    assert get_types(shop.handle(paid, renewed)) == ["trial_converted"]


def test_a_purchase_after_a_cancellation_is_found_by_the_token_it_replaces() -> None:
    shop = Shop()
    shop.handle(push(4, message_id="m_1", at=NOW - DAY, token=OLD_TOKEN), buy())
    cancelled = push(3, message_id="m_2", at=NOW - DAY / 2, token=OLD_TOKEN)
    shop.handle(cancelled, cancel("userInitiated"))
    bought = buy(linkedPurchaseToken=OLD_TOKEN, externalAccountIdentifiers=None)
    (signal,) = shop.handle(push(4, message_id="m_3"), bought)
    assert (signal.event_type, signal.user) == ("auto_renew_enabled", USER)
    assert shop.states[f"google_play:{TOKEN}"]["user"] == USER


def test_the_user_is_asked_for_by_the_token_and_then_by_the_replaced_one() -> None:
    asked: list[str] = []

    def get_user(token: str) -> str | None:
        asked.append(token)
        return {OLD_TOKEN: USER}.get(token)

    bought = buy(
        externalAccountIdentifiers=None, outOfAppPurchaseContext={"expiredPurchaseToken": OLD_TOKEN}
    )
    (signal,) = google_play.signals(push(4), purchase=bought, user_of=get_user)
    assert (signal.user, asked) == (USER, [TOKEN, OLD_TOKEN])


def test_the_purchase_is_fetched_once_and_only_for_what_needs_it() -> None:
    fetched: list[str] = []

    def fetch(token: str) -> dict[str, Any]:
        fetched.append(token)
        return renew()

    shop = Shop()
    for number in (10, 19, 99):
        assert google_play.signals(push(number), purchase=fetch).skipped
    assert fetched == []
    for step, at in enumerate([NOW, NOW + DAY]):
        shop.handle(push(2, message_id=f"m_{step}", at=at), renew())
    repeated = google_play.signals(
        push(2, message_id="m_0"), purchase=fetch, previous=shop.states.get
    )
    assert (repeated, fetched) == ([], [])
    assert google_play.signals(push(2), purchase=fetch)
    assert fetched == [TOKEN]


def test_what_the_functions_of_the_caller_raise_goes_through() -> None:
    def fail(_: str) -> None:
        raise TimeoutError

    no_user = buy(externalAccountIdentifiers=None)
    for functions in (
        {"purchase": fail},
        {"purchase": no_user, "user_of": fail},
        {"purchase": no_user, "previous": fail},
    ):
        with pytest.raises(TimeoutError):
            google_play.signals(push(7), **functions)


def test_a_purchase_that_google_has_no_more_is_a_reason() -> None:
    (skipped,) = google_play.signals(push(2), purchase=lambda _: None).skipped
    assert skipped.event_type == "SUBSCRIPTION_RENEWED"
    assert skipped.reason == "purchase= has no purchase of this token"


def test_a_refund_is_told_after_google_has_the_purchase_no_more() -> None:
    (signal,) = google_play.signals(
        void(), purchase=lambda _: None, user_of={TOKEN: USER}.__getitem__
    )
    assert (signal.event_type, signal.user) == ("refund_granted", USER)


def as_received(message: object) -> object:
    return SimpleNamespace(message=message)


@pytest.mark.parametrize("wrap", [lambda message: message, as_received])
def test_a_message_that_was_pulled_means_the_same(wrap: Callable[[object], object]) -> None:
    message = SimpleNamespace(data=json.dumps(build(7)).encode(), message_id="136969346945")
    expected = google_play.signals(push(7), purchase=buy())
    found = google_play.signals(wrap(message), purchase=buy())
    assert (found, found.state) == (expected, expected.state)
    assert found[0].message_id == "136969346945:auto_renew_enabled"


def test_a_bare_notification_has_the_same_id_each_time_and_another_one_has_not() -> None:
    at = NOW + timedelta(seconds=1)
    payloads = [build(7), build(7), build(7, at=at), build(7, token=OLD_TOKEN), build(3)]
    ids = [google_play.signals(one, purchase=buy())[0].message_id.split(":")[0] for one in payloads]
    assert ids[0] == ids[1]
    assert len(set(ids)) == 4


def test_a_license_tester_is_in_test_mode() -> None:
    (signal,) = google_play.signals(push(7), purchase=buy(testPurchase={}))
    assert signal.context["$mode"] == "test"
    (signal,) = google_play.signals(push(7), purchase=buy())
    assert "$mode" not in signal.context


def test_grace_and_account_hold_without_a_state_are_one_occurrence() -> None:
    (grace,) = google_play.signals(push(6), purchase=buy(**GRACE))
    (hold,) = google_play.signals(push(5), purchase=buy(state="ON_HOLD", ends=NOW))
    assert grace.context["$occurrence_key"] == hold.context["$occurrence_key"]


def test_an_issue_that_was_solved_since_does_not_name_the_new_order() -> None:
    (grace,) = google_play.signals(push(6), purchase=renew())
    assert "$occurrence_key" not in grace.context


def test_a_token_of_any_length_has_its_own_key() -> None:
    tokens = ["t" * 300, "t" * 299 + "u", "t" * 243, "t"]
    states = [google_play.signals(push(7, token=one), purchase=buy()).state for one in tokens]
    keys = [state["key"] for state in states if state]
    assert len(set(keys)) == 4
    assert keys[2:] == [f"google_play:{'t' * 243}", "google_play:t"]


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ({"data": "no base64!"}, "not base64"),
        ({"data": "bm8ganNvbg=="}, "not JSON"),
        ({"data": "e30="}, "no eventTimeMillis"),
        ({"attributes": {}}, "no eventTimeMillis"),
    ],
)
def test_a_message_without_a_notification_is_a_reason(message: Any, reason: str) -> None:
    (skipped,) = google_play.signals({"message": message}).skipped
    assert reason in skipped.reason


def break_one(data: st.DataObject, purchase: Any) -> None:
    path = data.draw(st.sampled_from([*get_paths(purchase)]))
    parent = purchase
    for name in path[:-1]:
        parent = parent[name]
    value = data.draw(st.sampled_from(WRONG))
    if value is not MISSING:
        parent[path[-1]] = json.loads(json.dumps(value))
    elif isinstance(parent, dict):
        del parent[path[-1]]


@given(data=st.data(), case=st.sampled_from(WITH_PURCHASE))
def test_whatever_the_purchase_holds_there_is_a_signal_or_a_reason(
    data: st.DataObject, case: Case
) -> None:
    purchase = json.loads(json.dumps(case.arguments["purchase"]))
    for _ in range(data.draw(st.integers(1, 3))):
        break_one(data, purchase)
        if not purchase:
            break
    arguments = {"previous": case.previous, **case.arguments, "purchase": purchase}
    signals = google_play.signals(case.payload, **arguments)
    assert signals or signals.skipped


class Google:
    """Stand-ins for the packages of Google, which are not needed to run the page."""

    def __init__(self, purchase: dict[str, Any]) -> None:
        self.purchase = purchase
        self.calls: list[tuple[Any, ...]] = []

    def get_modules(self) -> dict[str, Any]:
        error = type("HttpError", (Exception,), {"status_code": 410})
        return {
            "google": SimpleNamespace(),
            "google.auth": SimpleNamespace(),
            "google.auth.transport": SimpleNamespace(),
            "google.auth.transport.requests": SimpleNamespace(Request=object),
            "google.oauth2": SimpleNamespace(id_token=self),
            "googleapiclient": SimpleNamespace(),
            "googleapiclient.discovery": SimpleNamespace(build=self.build),
            "googleapiclient.errors": SimpleNamespace(HttpError=error),
        }

    def verify_oauth2_token(self, token: str, request: object, audience: str) -> dict[str, Any]:
        self.calls.append((type(request), audience))
        if token != "signed":
            raise ValueError("Wrong number of segments in token")
        return {"email": "push@example.iam.gserviceaccount.com", "email_verified": True}

    def build(self, service: str, version: str) -> Any:
        self.calls.append((service, version))
        execute = SimpleNamespace(execute=lambda: self.purchase)

        def get(*, packageName: str, token: str) -> Any:  # noqa: N803  # of Google's API
            self.calls.append((packageName, token))
            return execute

        purchases = SimpleNamespace(subscriptionsv2=lambda: SimpleNamespace(get=get))
        return nullcontext(SimpleNamespace(purchases=lambda: purchases))


@pytest.mark.usefixtures("_no_client_of_the_process")
def test_the_code_of_the_page_answers_a_push(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("flask")
    google = Google(buy())
    for name, module in google.get_modules().items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setenv("PUSH_AUDIENCE", "https://example.com")
    monkeypatch.setenv("PUSH_SERVICE_ACCOUNT", "push@example.iam.gserviceaccount.com")
    names: dict[str, Any] = {"__name__": "page"}
    with LocalServer() as server:
        monkeypatch.setenv("WHISPERR_API_KEY", "wrk_guide")
        monkeypatch.setenv("WHISPERR_BASE_URL", server.url)
        for block in get_blocks("docs/billing/google-play.md", "python"):
            exec(compile(block, "google-play.md", "exec", dont_inherit=True), names)
        browser = names["app"].test_client()
        for header in ({}, {"Authorization": "Bearer forged"}):
            assert browser.post("/webhooks/google-play", headers=header, json={}).status_code == 401
        signed = {"Authorization": "Bearer signed"}
        for _ in range(2):
            done = browser.post("/webhooks/google-play", headers=signed, json=push(7))
            assert done.status_code == 204
        assert names["whisperr"].shutdown()
        (arrival, *_) = server.arrivals()
        assert (arrival.user, arrival.type, arrival.problems) == (USER, "auto_renew_enabled", ())
        assert {one.message_id for one in server.arrivals()} == {arrival.message_id}
    assert ("com.example.pro", TOKEN) in google.calls
    assert names["states"][f"google_play:{TOKEN}"]["auto_renew"] is True
    assert names["fetch_without_hash"](TOKEN).keys() == {*buy()} - {"externalAccountIdentifiers"}
    names["whisperr"] = Whisperr("wrk_test")
    names["test_a_restored_subscription_renews"]()
    names["whisperr"].shutdown()


def test_the_table_of_the_page_has_all_events_in_order() -> None:
    rows = get_rows("docs/billing/google-play.md", "What becomes what")
    events = [value for name, value in vars(BillingEvent).items() if name.isupper()]
    assert [get_names(row[0]) for row in rows] == [[event] for event in events]
    found: dict[str, set[str]] = {event: set() for event in events}
    for case in CASES:
        if case.expected and not isinstance(case.arguments.get("previous"), dict):
            given = {"previous": case.previous, **case.arguments}
            for signal in google_play.signals(case.payload, **given):
                found[signal.event_type].add(signal.context["provider_event_type"])
    assert {row[0].strip("`"): {*get_names(row[1])} for row in rows} == found
