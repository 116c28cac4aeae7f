"""Events that are encoded now and queued later."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from whisperr import InvalidEvent, Whisperr, WhisperrError, scope
from whisperr._events.clock import Clock
from whisperr._events.event import EventEncoder
from whisperr._events.identify import encode_identify
from whisperr._events.layout import split_at_user
from whisperr._integrations.deferred import (
    UNKNOWN,
    defer_event,
    defer_identify,
    report_anonymous,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from whisperr import Answer, Request


class Silent:
    """A transport that is never used."""

    def send(self, request: Request, timeout: float) -> Answer:
        raise AssertionError

    def close(self) -> None:
        """Have nothing to close."""


@pytest.fixture
def errors() -> list[WhisperrError]:
    return []


@pytest.fixture
def clients(errors: list[WhisperrError]) -> Iterator[Any]:
    made = []

    def make(**options: Any) -> Whisperr:
        options = {"flush_at": 1_000_000, "flush_interval": 3600, **options}
        client = Whisperr("wrk_test", transport=Silent(), on_error=errors.append, **options)
        made.append(client)
        return client

    yield make
    for client in made:
        client.shutdown(0)


def held(client: Whisperr) -> list[dict[str, Any]]:
    """Return what waits in a client, without a request."""
    pipeline = client._get_pipeline()
    return [json.loads(data) for data in pipeline.queue.claim(1000)]


USERS: list[Any] = ["user_8842", 8842, '"', "Zoë \\ \u2028", "-", '-","external_user_id":"-']
EVENTS: list[dict[str, Any]] = [
    {},
    {"properties": {"external_user_id": "-", "a": [1, {"b": '"-"'}]}},
    {"context": {"ip": "::1", "external_user_id": "-"}, "message_id": "evt_1"},
]


@pytest.mark.parametrize("given", EVENTS)
@pytest.mark.parametrize("user", USERS)
def test_an_event_that_got_its_user_later_is_the_same_event(
    user: object, given: dict[str, Any]
) -> None:
    encoder = EventEncoder("1.0.0", clock=Clock(lambda: 1_750_000_000_000_000_000))
    given = {"properties": None, "context": None, "message_id": "evt_0", **given}
    arguments = (given["properties"], given["context"], None, given["message_id"])
    chosen, head, tail = encoder.encode_without_user("plan_upgraded", *arguments)
    at_once = encoder.encode(user, "plan_upgraded", *arguments)
    assert (chosen, encoder.add_user(head, user, tail)) == at_once


@pytest.mark.parametrize("user", USERS)
def test_an_identify_that_got_its_user_later_is_the_same(user: object, clients: Any) -> None:
    known: dict[str, Any] = {"email": "-", "traits": {"external_user_id": "-"}}
    client = clients()
    deferred = defer_identify(client, **known)
    assert deferred is not None
    assert deferred.queue(user) is True
    assert held(client) == [json.loads(encode_identify(user, **known))]


def test_a_deferred_event_has_the_scope_and_the_default_properties_of_its_call(
    clients: Any,
) -> None:
    regions = iter(["eu", "us"])
    client = clients(default_properties=lambda: {"region": next(regions)})
    with scope(tenant="acme", context={"request": "r1"}):
        deferred = defer_event(client, UNKNOWN, "plan_upgraded")
    assert deferred is not None
    with scope(tenant="other"):
        deferred.queue("u")
    (event,) = held(client)
    assert event["properties"] == {"region": "eu", "tenant": "acme"}
    assert event["context"]["request"] == "r1"


def test_the_pieces_are_what_stands_around_the_user() -> None:
    data = b'{"event_type":"a","external_user_id":"-","properties":{"external_user_id":"-"}}'
    assert split_at_user(data, "-") == (
        b'{"event_type":"a","external_user_id":',
        b',"properties":{"external_user_id":"-"}}',
    )


def test_one_that_waits_is_accepted_and_held_and_queued_in_the_order_of_the_ends(
    clients: Any,
) -> None:
    client = clients()
    first = defer_event(client, UNKNOWN, "plan_upgraded", {"n": 1})
    second = defer_event(client, "u", "plan_upgraded", {"n": 2})
    assert first is not None
    assert second is not None
    assert client.stats().accepted == client.stats().held == 2
    assert client.stats().held_bytes > 200
    assert second.queue() is True
    assert first.queue("later") is True
    assert client.stats().accepted == client.stats().held == 2
    assert [e["context"]["$message_id"] for e in held(client)] == [
        second.message_id,
        first.message_id,
    ]


def test_before_send_sees_an_event_when_it_is_whole(clients: Any) -> None:
    seen: list[str] = []

    def before_send(event: dict[str, Any]) -> dict[str, Any] | None:
        seen.append(event["external_user_id"])
        return None if event["event_type"] == "vetoed" else {**event, "properties": {}}

    client = clients(before_send=before_send)
    known = defer_event(client, "known", "plan_upgraded", {"n": 1})
    unknown = defer_event(client, UNKNOWN, "plan_upgraded", {"n": 2})
    vetoed = defer_event(client, UNKNOWN, "vetoed")
    assert defer_event(client, "u", "vetoed") is None
    assert seen == ["known", "u"]
    assert known is not None
    assert unknown is not None
    assert vetoed is not None
    assert (known.queue(), unknown.queue("late"), vetoed.queue("v")) == (True, True, False)
    assert seen == ["known", "u", "late", "v"]
    assert [e["properties"] for e in held(client)] == [{}, {}]
    assert client.stats().not_accepted == {"vetoed": 2}


@pytest.mark.parametrize("user", [None, "", " ", True, ["u"]])
def test_a_bad_user_is_reported_with_the_line_that_deferred_it(
    user: object, clients: Any, errors: list[WhisperrError]
) -> None:
    client = clients()
    deferred = defer_event(client, UNKNOWN, "plan_upgraded")
    assert deferred is not None
    line = first_line(test_a_bad_user_is_reported_with_the_line_that_deferred_it)
    assert deferred.queue(user) is False
    assert client.stats().not_accepted == {"invalid": 1}
    client.shutdown(10)
    assert errors[0].message.startswith("track: external_user_id: must ")
    assert f" (at {__file__}:{line}); 1 event not accepted (invalid); " in errors[0].message


def first_line(function: Any) -> int:
    """Return the line of the first call of `defer_event` in a function."""
    import inspect

    lines, start = inspect.getsourcelines(function)
    return start + next(n for n, text in enumerate(lines) if "= defer_event(" in text)


def test_bad_data_is_reported_at_once(clients: Any) -> None:
    client = clients()
    assert defer_event(client, UNKNOWN, "Plan Upgraded") is None
    assert defer_event(client, "u", "plan_upgraded", [1]) is None
    assert defer_identify(client, preferred_channel="fax") is None
    assert client.stats().not_accepted == {"invalid": 3}


def test_strict_mode_raises_when_it_is_found(clients: Any) -> None:
    client = clients(strict=True)
    with pytest.raises(InvalidEvent, match="event_type"):
        defer_event(client, UNKNOWN, "Plan Upgraded")
    with pytest.raises(InvalidEvent, match="preferred_channel"):
        defer_identify(client, preferred_channel="fax")
    deferred = defer_event(client, UNKNOWN, "plan_upgraded")
    assert deferred is not None
    with pytest.raises(InvalidEvent, match="external_user_id"):
        deferred.queue(None)
    other = defer_event(client, UNKNOWN, "plan_upgraded")
    assert other is not None
    with pytest.raises(InvalidEvent, match="cancelled"):
        other.reject(InvalidEvent("cancelled"))
    assert client.stats().accepted == 0


def test_one_whose_client_is_shut_down_is_reported(
    clients: Any, errors: list[WhisperrError]
) -> None:
    client = clients()
    deferred = defer_event(client, UNKNOWN, "plan_upgraded")
    identify = defer_identify(client, email="ada@example.com")
    assert client.shutdown(10) is False
    assert [(error.reason, error.count) for error in errors] == [("shutdown", 2)]
    assert deferred is not None
    assert identify is not None
    assert (deferred.queue("u"), identify.queue("u")) == (False, False)
    deferred.reject(InvalidEvent("it was reported already"))
    assert defer_event(client, "u", "plan_upgraded") is None
    assert defer_identify(client) is None
    stats = client.stats()
    assert (stats.accepted, stats.dropped, stats.held) == (2, {"shutdown": 2}, 0)
    assert stats.not_accepted == {"closed": 2}
    assert errors[1].message.startswith("track: the client is shut down (at ")


def test_a_disabled_client_defers_nothing(clients: Any) -> None:
    client = clients(disabled=True)
    assert defer_event(client, "u", "plan_upgraded") is None
    assert defer_identify(client) is None
    report_anonymous(client, "track")
