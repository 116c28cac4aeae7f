"""The lines of an import file: each becomes a call, or is refused with a reason."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from whisperr import InvalidEvent, Whisperr
from whisperr._cli.calls import get_message_id, parse_object, send_object
from whisperr.testing import Events, capture

NOW = datetime.now(timezone.utc)
YESTERDAY = (NOW - timedelta(days=1)).isoformat()
EVENT = {"external_user_id": "42", "event_type": "login", "occurred_at": YESTERDAY}


def send_line(client: Whisperr, data: bytes) -> None:
    value = parse_object(data)
    if value is not None:
        send_object(client, value)


def send(*lines: Any) -> Events:
    client = Whisperr(disabled=True)
    with capture(strict=True) as events:
        for line in lines:
            data = line if isinstance(line, bytes) else json.dumps(line).encode()
            send_line(client, data)
    return events


class TestEvents:
    def test_an_event_is_tracked_with_what_the_line_says(self) -> None:
        line = {**EVENT, "properties": {"a": 1}, "context": {"page": "/"}, "message_id": "evt_1"}
        event = send(line).one("login")
        assert (event.user, event.properties, event.message_id) == ("42", {"a": 1}, "evt_1")
        assert event.context["page"] == "/"
        assert abs(event.occurred_at - datetime.fromisoformat(YESTERDAY)) < timedelta(seconds=1)

    def test_decimals_keep_their_digits(self) -> None:
        line = json.dumps({**EVENT, "properties": {"price": 0}}).replace(
            '"price": 0', '"price": 1.10'
        )
        client = Whisperr(disabled=True)
        with capture() as events:
            send_line(client, line.encode())
        assert events.one().properties == {"price": 1.1}

    def test_an_event_from_on_error_can_be_imported_with_its_id(self) -> None:
        client = Whisperr(disabled=True)
        with capture() as events:
            client.track("42", "login", {"a": 1})
        original = events.one().body
        assert send(original).one().body == original

    def test_a_number_is_an_id_and_a_byte_order_mark_is_skipped(self) -> None:
        line = b"\xef\xbb\xbf" + json.dumps({**EVENT, "external_user_id": 42}).encode()
        assert send(line).one().user == "42"

    def test_the_id_comes_from_the_content(self) -> None:
        backwards = dict(reversed(EVENT.items()))
        first, again, other = send(EVENT, backwards, {**EVENT, "properties": {"a": 1}})
        assert first.message_id == again.message_id
        assert first.message_id != other.message_id
        assert len(first.message_id) == 32
        assert get_message_id({"message_id": 7}) == "7"
        assert get_message_id({"context": {"$message_id": "m"}}) == "m"
        assert get_message_id({"context": []}) != get_message_id({"context": {}})

    def test_a_blank_line_is_skipped(self) -> None:
        assert send(b"\n", b"  \r\n") == []


class TestIdentifies:
    def test_a_line_without_an_event_type_is_an_identify(self) -> None:
        channels = [{"channel": "sms", "address": "+49"}]
        events = send(
            {"external_user_id": 42, "traits": {"plan": "pro"}, "channels": channels},
            {"external_user_id": 43, "email": "ada@example.com", "anonymous_id": "a1"},
        )
        events.assert_identified(42, traits={"plan": "pro"}, phone="+49")
        events.assert_identified(43, email="ada@example.com", anonymous_id="a1")
        assert events == []


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b"nope", "not JSON: Expecting value"),
        (b"\xff", "not UTF-8 at byte 0"),
        ([1], "must be a JSON object, got list"),
        ({**EVENT, "user": "42"}, "'user': an event has only the keys external_user_id, "),
        ({"external_user_id": "42", "trait": {}}, "'trait': an identify"),
        ({"traits": {}}, "external_user_id: must be"),
        ({**EVENT, "external_user_id": None}, "external_user_id: must be"),
        ({**EVENT, "event_type": "Log In"}, "event_type: got 'Log In'"),
        ({**EVENT, "properties": [1]}, "properties: must be a dict"),
        ({"external_user_id": "42", "event_type": "login"}, "occurred_at: an imported event needs"),
        ({**EVENT, "occurred_at": 1_781_000_000}, "occurred_at: an imported event needs"),
        ({**EVENT, "occurred_at": "2026-06-14T12:00:00"}, "occurred_at: .*add the zone"),
        (
            {**EVENT, "occurred_at": (NOW - timedelta(days=31)).isoformat()},
            "occurred_at: .*30 days ago",
        ),
        (
            {**EVENT, "occurred_at": (NOW + timedelta(hours=1)).isoformat()},
            "occurred_at: .*more than 5 minutes ahead",
        ),
    ],
    ids=lambda given: given if isinstance(given, str) else None,  # lines hold the time of now
)
def test_a_wrong_line_is_refused_with_the_reason(line: Any, why: str) -> None:
    with pytest.raises(InvalidEvent, match=why):
        send(line)
