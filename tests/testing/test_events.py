"""What a capture records can be read, queried and asserted; failures show the nearest events."""

from __future__ import annotations

from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum
from typing import TYPE_CHECKING, Any
from unittest.mock import ANY
from uuid import UUID

import pytest

from whisperr import Channel, Event, Whisperr
from whisperr.testing import Events, RecordedEvent, RecordedIdentify, capture

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

UUID_ONE = UUID(int=1)
# A terminal of usual height.
SCREEN_LINES = 50

NEAREST = """\
expected to be tracked at least once: plan_upgraded of '42', properties {"plan": "pro"}
nearest (- expected, + recorded):
  plan_upgraded of '42' {"plan": "free"}
    - properties.plan: "pro"
    + properties.plan: "free"
  plan_upgraded of '43' {"plan": "pro"}
    - external_user_id: "42"
    + external_user_id: "43"
  plan_upgrade of '42' {"plan": "pro"}
    - event_type: "plan_upgraded"
    + event_type: "plan_upgrade"
all that was recorded: plan_upgraded (2), invoice_paid (1), plan_upgrade (1), login (1)"""


class Plan(Enum):
    PRO = "pro"


class PlanUpgraded(Event):
    plan: str
    coupon: str | None = None


class Shared(Event, abstract=True):
    plan: str


@pytest.fixture
def client() -> Whisperr:
    return Whisperr(disabled=True)


@pytest.fixture
def events(client: Whisperr) -> Iterator[Events]:
    with capture() as recorded:
        yield recorded


def get_failure(call: Callable[[], object]) -> str:
    with pytest.raises(AssertionError) as caught:
        call()
    return str(caught.value)


class TestValues:
    def test_an_event_has_its_members_as_attributes(self, client: Whisperr, events: Events) -> None:
        moment = datetime.now(timezone.utc) - timedelta(hours=1)
        client.track(
            42,
            "payment_failed",
            {"amount": 1},
            {"page": "/pay"},
            occurred_at=moment,
            message_id="evt_1",
        )
        event = events.one()
        assert (event.user, event.type, event.name) == ("42", "payment_failed", "payment_failed")
        assert (event.properties, event.message_id) == ({"amount": 1}, "evt_1")
        assert event.context["page"] == "/pay"
        assert event.occurred_at == moment.replace(microsecond=moment.microsecond // 1000 * 1000)
        assert event.body["event_type"] == "payment_failed"
        assert str(event) == "payment_failed of '42' {\"amount\": 1}"

    def test_an_identify_has_its_members_as_attributes(
        self, client: Whisperr, events: Events
    ) -> None:
        client.identify(
            42,
            traits={"plan": Plan.PRO},
            channels=[Channel.sms("+49")],
            preferred_channel="sms",
            anonymous_id="a1",
        )
        client.identify("43")
        full, bare = events.identifies
        assert (full.user, full.traits, full.anonymous_id) == ("42", {"plan": "pro"}, "a1")
        assert full.channels == [{"channel": "sms", "address": "+49"}]
        assert full.preferred_channel == "sms"
        assert (bare.traits, bare.channels) == ({}, [])
        assert (bare.preferred_channel, bare.anonymous_id) == (None, None)
        assert str(bare) == "identify of '43' {}"


class TestList:
    def test_events_are_a_list_in_the_order_of_the_calls(
        self, client: Whisperr, events: Events
    ) -> None:
        assert events == []
        assert not events
        for name in ("a", "b", "c"):
            client.track("42", name)
        client.identify("42")
        assert [event.type for event in events] == ["a", "b", "c"]
        assert (events[0].type, events[-1].type) == ("a", "c")
        assert [event.type for event in events[1:]] == ["b", "c"]
        assert events == list(events) == Events(events)
        assert events[1] in events
        assert events != []
        assert events != 3
        assert "a of '42' {}" in repr(events)
        assert [type(one) for one in events.everything][-2:] == [RecordedEvent, RecordedIdentify]

    def test_events_can_be_chosen_by_type_and_user(self, client: Whisperr, events: Events) -> None:
        client.track(1, "login")
        client.track(2, "login")
        client.track(1, "logout")
        client.identify(1)
        assert [event.user for event in events.named("login")] == ["1", "2"]
        assert [event.type for event in events.for_user(1)] == ["login", "logout"]
        assert len(events.for_user("1").identifies) == 1
        assert events.for_user(2).identifies == []
        assert events.named("login").for_user(2).one() == events[1]

    def test_events_can_be_cleared(self, client: Whisperr, events: Events) -> None:
        client.track(1, "login")
        client.track(None, "login")
        events.clear()
        assert events == events.refused == []
        client.track(1, "logout")
        assert events.one("logout").user == "1"


class TestMatching:
    @pytest.mark.parametrize(
        "wanted",
        [
            {},
            {"plan": "pro"},
            {"plan": Plan.PRO, "price": Decimal("19.90")},
            {"price": 19.9, "seats": {"after": 9}},
            {"since": date(2026, 6, 14), "account": UUID_ONE},
            {"tags": ["a", {"b": 1}], "nothing": None},
            {"tags": ("a", {"b": 1})},
            {"price": pytest.approx(19.8, abs=0.2), "account": ANY},
            {"by_number": {1: "one"}},
            {"active": True, "count": 1},
        ],
        ids=str,
    )
    def test_only_named_members_are_compared(
        self, client: Whisperr, events: Events, wanted: dict[str, Any]
    ) -> None:
        properties = {
            "plan": Plan.PRO,
            "price": Decimal("19.90"),
            "seats": {"before": 12, "after": 9},
            "since": date(2026, 6, 14),
            "account": UUID_ONE,
            "tags": ["a", {"b": 1, "c": 2}],
            "nothing": None,
            "by_number": {1: "one"},
            "active": True,
            "count": 1,
        }
        client.track("42", "plan_upgraded", properties)
        events.assert_tracked("plan_upgraded", properties=wanted)

    @pytest.mark.parametrize(
        ("wanted", "line"),
        [
            ({"plan": "pro"}, '+ properties.plan: "free"'),
            ({"plam": "free"}, "+ properties.plam: (not there)"),
            ({"seats": {"after": 8}}, "+ properties.seats.after: 9"),
            ({"seats": {"after": {"x": 1}}}, "+ properties.seats.after: 9"),
            ({"tags": ["a"]}, '+ properties.tags: ["a", "b"]'),
            ({"tags": ["a", "c"]}, '+ properties.tags[1]: "b"'),
            ({"active": 1}, "+ properties.active: true"),
            ({"plan": None}, '+ properties.plan: "free"'),
            ({"price": Decimal("19.91")}, "+ properties.price: 19.9"),
        ],
        ids=str,
    )
    def test_a_difference_is_shown_with_its_path(
        self, client: Whisperr, events: Events, wanted: dict[str, Any], line: str
    ) -> None:
        given = {"plan": "free", "seats": {"after": 9}, "tags": ["a", "b"], "active": True}
        client.track("42", "plan_upgraded", {**given, "price": 19.9})
        text = get_failure(lambda: events.assert_tracked("plan_upgraded", properties=wanted))
        assert line in [part.strip() for part in text.splitlines()]
        events.assert_not_tracked("plan_upgraded", properties=wanted)

    def test_user_context_and_id_are_compared(self, client: Whisperr, events: Events) -> None:
        client.track(42, "login", context={"page": "/"}, message_id="evt_1")
        events.assert_tracked("login", user=42, context={"page": "/"}, message_id="evt_1")
        events.assert_not_tracked("login", user=43)
        text = get_failure(lambda: events.assert_tracked("login", user=43, message_id="evt_2"))
        assert '+ context.$message_id: "evt_1"' in text
        assert '+ external_user_id: "42"' in text

    @pytest.mark.parametrize(
        "wanted",
        [
            {},
            {"user": 42},
            {"traits": {"plan": "pro"}, "times": 1},
            {"email": "ada@example.com"},
            {"phone": "+49"},
            {"email": "ada@example.com", "phone": "+49"},
            {"channels": [{"channel": "sms", "opted_in": True}]},
            {"anonymous_id": "a1", "preferred_channel": "email"},
        ],
        ids=str,
    )
    def test_identifies_are_matched_by_their_members(
        self, client: Whisperr, events: Events, wanted: dict[str, Any]
    ) -> None:
        client.identify(
            42,
            traits={"plan": "pro", "seats": 3},
            email="ada@example.com",
            phone="+49",
            anonymous_id="a1",
            preferred_channel="email",
        )
        events.assert_identified(**wanted)

    def test_a_missing_channel_is_shown(self, client: Whisperr, events: Events) -> None:
        client.identify(42, email="ada@example.com")
        text = get_failure(lambda: events.assert_identified(42, phone="+49"))
        assert '- channels: {"channel": "sms", "address": "+49"}' in text
        assert "expected to be identified at least once: anything of '42'" in text


class TestTimes:
    def test_a_number_of_times_is_exact(self, client: Whisperr, events: Events) -> None:
        client.track(1, "login")
        client.track(1, "login")
        events.assert_tracked("login")
        events.assert_tracked("login", times=2)
        events.assert_tracked("logout", times=0)
        text = get_failure(lambda: events.assert_tracked("login", times=1))
        assert text.splitlines() == [
            "expected to be tracked once: login",
            "it was tracked 2 times:",
            "  login of '1' {}",
            "  login of '1' {}",
        ]
        text = get_failure(lambda: events.assert_tracked("login", times=3))
        assert text.startswith("expected to be tracked 3 times: login\nit was tracked 2 times:")

    def test_unexpected_events_are_listed(self, client: Whisperr, events: Events) -> None:
        events.assert_not_tracked()
        client.track(1, "login")
        text = get_failure(events.assert_not_tracked)
        assert text == (
            "expected to be tracked not at all: anything\nit was tracked once:\n  login of '1' {}"
        )

    def test_one_fails_unless_there_is_exactly_one(self, client: Whisperr, events: Events) -> None:
        assert get_failure(events.one).splitlines() == [
            "expected exactly one event, none was tracked",
            "all that was recorded: nothing",
        ]
        client.track(1, "login")
        client.track(2, "logout")
        assert events.one("logout").user == "2"
        assert "expected exactly one event, 2 were tracked\n  login" in get_failure(events.one)
        assert "one trial_started, none was" in get_failure(lambda: events.one("trial_started"))


class TestFailures:
    def test_the_nearest_events_are_shown_first(self, client: Whisperr, events: Events) -> None:
        client.track("7", "invoice_paid", {"plan": "pro"})
        client.track("42", "plan_upgrade", {"plan": "pro"})
        client.track("42", "plan_upgraded", {"plan": "free"})
        client.track("43", "plan_upgraded", {"plan": "pro"})
        client.track("42", "login")
        text = get_failure(
            lambda: events.assert_tracked("plan_upgraded", user="42", properties={"plan": "pro"})
        )
        assert text == NEAREST

    def test_refused_calls_are_shown(self, client: Whisperr, events: Events) -> None:
        for _ in range(5):
            client.track("42", "Plan Upgraded")
        text = get_failure(lambda: events.assert_tracked("plan_upgraded"))
        assert "refused: track: event_type: got 'Plan Upgraded'" in text
        assert f"(at {__file__}:" in text
        assert text.endswith("refused: 2 more calls")

    def test_the_longest_message_fits_on_a_screen(self, client: Whisperr, events: Events) -> None:
        long = "x" * 5_000
        for number in range(200):
            client.track(f"{number}", f"event_{number}", {f"p{n}": long for n in range(30)})
            client.identify(f"{number}", traits={f"t{n}": long for n in range(30)})
            client.track(None, long)
        wanted = {f"p{n}": "y" * 5_000 for n in range(30)}
        for text in (
            get_failure(lambda: events.assert_tracked("event_3", properties=wanted)),
            get_failure(lambda: events.assert_identified(traits={"t1": 1, "t2": 2})),
            get_failure(events.one),
            get_failure(events.assert_not_tracked),
        ):
            lines = text.splitlines()
            assert len(lines) <= SCREEN_LINES
            assert max(map(len, lines)) <= 300
        assert "and 190 more" in get_failure(events.one)
        text = get_failure(lambda: events.assert_tracked("event_3", properties=wanted))
        assert "and 24 more" in text
        assert "190 more types" in text


class TestTypedEvents:
    @pytest.fixture(autouse=True)
    def track(self, client: Whisperr, events: Events) -> None:
        client.track("42", PlanUpgraded(plan="pro"))
        client.track("43", "plan_upgraded", {"plan": "team", "coupon": "A", "tenant": "acme"})

    def test_an_event_matches_one_with_its_fields(self, events: Events) -> None:
        events.assert_tracked(PlanUpgraded(plan="pro"), user="42", times=1)
        events.assert_tracked(PlanUpgraded(plan="team", coupon="A"), user="43")
        events.assert_tracked(
            PlanUpgraded(plan="team", coupon="A"), properties={"tenant": "acme"}, times=1
        )
        events.assert_not_tracked(PlanUpgraded(plan="free"))
        with pytest.raises(AssertionError):
            events.assert_not_tracked(PlanUpgraded(plan="pro"))
        with pytest.raises(AssertionError):
            events.assert_tracked(PlanUpgraded(plan="pro"), properties={"tenant": "acme"})

    def test_a_field_that_is_none_must_not_be_there(self, events: Events) -> None:
        failure = get_failure(lambda: events.assert_tracked(PlanUpgraded(plan="team")))
        assert failure.startswith(
            'expected to be tracked at least once: plan_upgraded, properties {"plan": "team"}\n'
        )
        assert '    - properties.coupon: (not there)\n    + properties.coupon: "A"\n' in failure

    def test_a_class_matches_its_event_type(self, events: Events) -> None:
        events.assert_tracked(PlanUpgraded, times=2)
        events.assert_tracked(PlanUpgraded, properties={"plan": "team"}, times=1)
        assert len(events.named(PlanUpgraded)) == 2
        assert events.for_user("42").one(PlanUpgraded).properties == {"plan": "pro"}
        with pytest.raises(AssertionError):
            events.assert_not_tracked(PlanUpgraded)
        assert get_failure(lambda: events.one(PlanUpgraded)).startswith(
            "expected exactly one plan_upgraded, 2 were tracked"
        )

    def test_an_abstract_class_would_match_nothing_and_is_refused(self, events: Events) -> None:
        for check in (events.named, events.one, events.assert_tracked, events.assert_not_tracked):
            with pytest.raises(TypeError, match=r"Shared.* is abstract"):
                check(Shared)
