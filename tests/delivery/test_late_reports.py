"""Reports after a client has ended: emitted in the calling thread, when due, or by the exit."""

from __future__ import annotations

import gc
import threading
import weakref
from typing import TYPE_CHECKING

import pytest

from tests.delivery.pipelines import LIMIT, Errors, Pipelines, shut, track
from whisperr import InvalidEvent, Whisperr
from whisperr._events.event import AnonymousUser
from whisperr._process.exit import pipelines, shutdown_all
from whisperr.testing import MemoryTransport

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from whisperr import WhisperrError
    from whisperr._delivery.pipeline import Pipeline
    from whisperr._process.exit import Running


@pytest.fixture
def pipeline() -> Iterator[Pipelines]:
    made = Pipelines()
    yield made
    made.end()


class Waiting:
    """An event that waits for its user."""

    counted_bytes = 0


LATE: dict[str, Callable[[Pipeline], object]] = {
    "closed": lambda one: one.reject_closed("track"),
    "invalid": lambda one: one.reject(InvalidEvent("bad"), "track"),
    "anonymous": lambda one: one.reject(AnonymousUser("none"), "track"),
    "not stored": lambda one: one.not_accepted("not_stored", "track: no table", None),
    "deferred": lambda one: one.defer(Waiting(), 10),
    "lost by the queue": lambda one: one.accounting.lost([b"{}"], "queue_full", "full"),
    "damaged in the store": lambda one: one.accounting.lost_in_store(1, "damaged"),
    "kept in memory only": lambda one: one.accounting.not_durable("no disk", 1),
}


@pytest.mark.parametrize("delivered", [False, True], ids=["idle", "delivered"])
@pytest.mark.parametrize("what", LATE)
def test_whatever_comes_after_the_end_is_reported_by_the_exit_at_the_latest(
    pipeline: Pipelines, what: str, *, delivered: bool
) -> None:
    errors = Errors()
    one = pipeline(MemoryTransport(), on_error=errors)
    if delivered:
        track(one, 1)
    assert shut(one)
    for _ in range(5):
        LATE[what](one)
    at_once = [error.count for error in errors.seen]
    assert at_once == [1]  # the first of a kind; the others wait for their second
    assert not one.ended
    shutdown_all(LIMIT)
    assert one.ended
    last = errors.seen[-1].count
    assert last == (1 if what == "kept in memory only" else 4)
    assert len(errors.seen) == 2


def test_the_next_call_reports_what_is_due(
    pipeline: Pipelines, monkeypatch: pytest.MonkeyPatch
) -> None:
    errors, now = Errors(), [0.0]
    one = pipeline(MemoryTransport(), on_error=errors)
    assert shut(one)
    monkeypatch.setattr("whisperr._delivery.pipeline.monotonic", lambda: now[0])
    for moment in (100.0, 100.1, 100.9, 101.0, 101.5):
        now[0] = moment
        one.reject_closed("track")
    assert [error.count for error in errors.seen] == [1, 3]


def test_they_are_reported_in_the_thread_that_calls(pipeline: Pipelines) -> None:
    threads: list[int] = []
    errors = Errors(lambda _: threads.append(threading.get_ident()))
    one = pipeline(MemoryTransport(), on_error=errors)
    track(one, 1)
    assert shut(one)
    for _ in range(2):
        one.reject_closed("track")
    assert shut(one)
    assert threads == [threading.get_ident()] * 2


def test_an_on_error_that_tracks_and_shuts_down_each_time_comes_to_an_end() -> None:
    seen: list[int] = []

    def follow(error: WhisperrError) -> None:
        seen.append(error.count)
        client.track("ops", "event_lost")
        client.shutdown(LIMIT)

    client = Whisperr("wrk_test", transport=MemoryTransport(), on_error=follow)
    client.shutdown(LIMIT)
    for _ in range(3):
        client.track("u", "late_event")
    client.shutdown(LIMIT)
    assert seen[:2] == [1, 3]  # two of ours, and the one that the first report led to
    assert len(seen) < 6


def test_the_reports_of_a_collected_client_are_emitted_and_it_is_freed() -> None:
    errors = Errors()

    def come_and_go() -> weakref.ref[Running]:
        client = Whisperr("wrk_test", transport=MemoryTransport(), on_error=errors)
        client.shutdown(LIMIT)
        for _ in range(3):
            client.track("u", "late_event")
        one = client._get_pipeline()
        del client
        gc.collect()
        assert one in pipelines()
        return weakref.ref(one)

    left = come_and_go()
    gc.collect()
    assert left() is not None
    assert [error.count for error in errors.seen] == [1]
    with Whisperr("wrk_test", transport=MemoryTransport()):
        pass
    assert [error.count for error in errors.seen] == [1, 2]
    gc.collect()
    assert left() is None


def test_a_collected_client_whose_reports_cause_others_is_freed() -> None:
    seen: list[int] = []

    def come_and_go() -> None:
        def follow(error: WhisperrError) -> None:
            seen.append(error.count)
            client.track("ops", "event_lost")

        client = Whisperr("wrk_test", transport=MemoryTransport(), on_error=follow)
        client.shutdown(LIMIT)
        client.track("u", "late_event")

    come_and_go()
    gc.collect()
    for _ in range(4):
        with Whisperr("wrk_test", transport=MemoryTransport()):
            pass
    assert seen == [1, 1]
