"""The kind, the user and the age of an event, read from its encoded bytes."""

from __future__ import annotations

import pytest

from whisperr._events.clock import Clock
from whisperr._events.event import EventEncoder
from whisperr._events.identify import encode_identify
from whisperr._events.layout import (
    EVENT_HEAD,
    get_kind,
    get_oldest_time,
    get_time,
    get_user,
    is_expired,
    is_identify,
)

NOW = 1_781_000_000.0  # 2026-06-09T10:13:20Z
ENCODER = EventEncoder("1.0.0")

USERS = [
    "user_1",
    'quo"ted',
    "back\\slash",
    "ü∆",
    '","occurred_at":"1970',
    '"external_user_id":"x"',
]


def make_event(user: str, properties: object = None) -> bytes:
    return ENCODER.encode(user, "payment_failed", properties)[1]


class TestKind:
    @pytest.mark.parametrize("user", USERS)
    def test_the_first_bytes_tell_an_identify_from_an_event(self, user: str) -> None:
        assert is_identify(encode_identify(user))
        assert not is_identify(make_event(user))

    def test_the_kind_is_the_type_of_an_event_or_identify(self) -> None:
        assert get_kind(make_event("u")) == "payment_failed"
        assert get_kind(encode_identify("u")) == "identify"

    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"{}",
            b"\xff",
            EVENT_HEAD,
            EVENT_HEAD + b'"',
            EVENT_HEAD + b"payment",
            EVENT_HEAD + b'ada@example.com"',
            b" " + EVENT_HEAD + b'payment"',
        ],
    )
    def test_other_bytes_are_unreadable(self, data: bytes) -> None:
        assert get_kind(data) == "unreadable"


class TestUser:
    @pytest.mark.parametrize("user", USERS)
    def test_an_event_and_an_identify_of_one_user_have_the_same_user(self, user: str) -> None:
        found = get_user(make_event(user, {"external_user_id": "another"}))
        assert found == get_user(encode_identify(user, traits={"a": 1}))
        assert len(found) > 2

    def test_different_users_are_different(self) -> None:
        assert len({get_user(make_event(user)) for user in USERS}) == len(USERS)

    def test_bytes_without_a_user_have_an_empty_one(self) -> None:
        assert get_user(b"{}") == b""


class TestAge:
    def test_the_oldest_accepted_time_is_thirty_days_ago(self) -> None:
        assert get_oldest_time(NOW) == b"2026-05-10T10:13:20.000Z"

    @pytest.mark.parametrize(
        ("milliseconds", "expired"), [(-1, True), (0, False), (1, False), (-(10**10), True)]
    )
    @pytest.mark.parametrize("user", USERS)
    def test_an_event_expires_by_the_time_when_it_happened(
        self, user: str, milliseconds: int, expired: bool
    ) -> None:
        happened = (int(NOW) - 30 * 86_400) * 10**9 + milliseconds * 10**6
        encoder = EventEncoder("1.0.0", clock=Clock(lambda: happened))
        data = encoder.encode(user, "e", {"a": 1, "occurred_at": "1970"})[1]
        assert is_expired(data, get_oldest_time(NOW)) is expired

    def test_an_identify_never_expires(self) -> None:
        traits = {"a": 1, "occurred_at": "1970-01-01T00:00:00.000Z"}
        data = encode_identify("u", anonymous_id="a", traits=traits)
        assert b',"occurred_at":"1970' in data
        assert is_expired(data, get_oldest_time(NOW)) is False

    def test_bytes_without_a_time_are_not_expired(self) -> None:
        assert is_expired(b"{}", get_oldest_time(NOW)) is False


@pytest.mark.parametrize(
    ("data", "time"),
    [
        (
            b'{"event_type":"a","external_user_id":"u","occurred_at":"2026-06-14T12:00:00.000Z"}',
            b"2026-06-14T12:00:00.000Z",
        ),
        (b'{"event_type":"a","occurred_at":"soon"}', b'soon"}'),
        (b'{"external_user_id":"u","occurred_at":"2026-06-14T12:00:00.000Z"}', None),
        (b"{}", None),
    ],
)
def test_the_time_of_an_event_is_read_as_it_is_written(data: bytes, time: bytes | None) -> None:
    assert get_time(data) == time
