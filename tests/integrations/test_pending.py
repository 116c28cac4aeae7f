"""Deferred events of one request that wait for their user."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from whisperr import InvalidEvent, Whisperr
from whisperr._integrations.deferred import UNKNOWN, Pending, Unread, defer_event
from whisperr.testing import capture

if TYPE_CHECKING:
    from collections.abc import Iterator

    from whisperr._integrations.deferred import DeferredEvent
    from whisperr.testing import Events


@pytest.fixture
def events() -> Iterator[Events]:
    with capture() as recorded:
        yield recorded


@pytest.fixture
def client() -> Iterator[Whisperr]:
    with Whisperr("wrk_test") as made:
        yield made


def make_deferred(client: Whisperr, event_type: str) -> DeferredEvent:
    deferred = defer_event(client, UNKNOWN, event_type)
    assert deferred is not None
    return deferred


class Reader:
    """A user that takes an `await`; counts how often it is read."""

    def __init__(self, user: object) -> None:
        self.user = user
        self.count = 0

    async def __call__(self) -> object:
        self.count += 1
        await asyncio.sleep(0)
        if isinstance(self.user, BaseException):
            raise self.user
        return self.user


def get_tracked(events: Events) -> list[tuple[Any, Any]]:
    return [(event.user, event.type) for event in events]


def test_each_source_is_read_once_and_events_are_queued_in_their_order(
    client: Whisperr, events: Events
) -> None:
    ada, bob, pending = Reader("ada"), Reader("bob"), Pending()
    for name, reader in (("first", ada), ("second", bob), ("third", ada)):
        pending.add(make_deferred(client, name), Unread(reader, source=reader))
    assert pending
    asyncio.run(pending.settle())
    assert not pending
    assert (ada.count, bob.count) == (1, 1)
    assert get_tracked(events) == [("ada", "first"), ("bob", "second"), ("ada", "third")]


def test_an_anonymous_visitor_gets_no_event_and_no_report(client: Whisperr, events: Events) -> None:
    pending, reader = Pending(), Reader(None)
    pending.add(make_deferred(client, "seen"), Unread(reader, source=reader))
    asyncio.run(pending.settle())
    assert get_tracked(events) == []


def test_a_user_that_cannot_be_read_is_an_invalid_event_without_its_text() -> None:
    unread = Unread(Reader(LookupError("ada@example.com")), None, "the resolver")
    error = asyncio.run(unread.read())
    assert isinstance(error, InvalidEvent)
    assert str(error) == "external_user_id: the resolver raised LookupError"


def test_an_event_after_the_end_of_the_request_is_rejected() -> None:
    reports: list[Any] = []
    with Whisperr("wrk_test", on_error=reports.append) as client:
        pending, reader = Pending(), Reader("ada")
        pending.end()
        deferred = make_deferred(client, "late")
        assert pending.add(deferred, Unread(reader, source=reader)) is None
        assert not pending
    assert "the request is over" in reports[0].message


def test_a_cancelled_reading_reports_what_waits_and_keeps_what_was_read() -> None:
    with Whisperr("wrk_test", flush_interval=3600) as client:
        pending = Pending()
        for name, reader in (
            ("first", Reader("ada")),
            ("second", Reader(asyncio.CancelledError())),
        ):
            pending.add(make_deferred(client, name), Unread(reader, source=reader))
        with pytest.raises(asyncio.CancelledError):
            asyncio.run(pending.settle())
        assert client.stats().accepted == 1
        assert client.stats().not_accepted == {"invalid": 1}
        client.shutdown(0)


def test_pulling_keeps_the_order_of_the_rest(client: Whisperr) -> None:
    pending, readers = Pending(), [Reader("ada"), Reader("bob"), Reader("cy")]
    for reader in readers:
        pending.add(make_deferred(client, "seen"), Unread(reader, source=reader))
    (pulled,) = pending.pull(lambda user: user.source is readers[1])
    assert pulled[1].source is readers[1]
    assert [user.source for _, user in pending.pull()] == [readers[0], readers[2]]
