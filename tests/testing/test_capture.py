"""While a capture is on every client records, nothing is sent, and afterwards all is as before."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from whisperr import InvalidEvent, Whisperr, WhisperrError
from whisperr._options import OVERRIDES
from whisperr.dev import LocalServer
from whisperr.testing import MemoryTransport, capture, strict

if TYPE_CHECKING:
    from collections.abc import Iterator

LIMIT = 30.0  # seconds; far more than anything here takes
QUIET: dict[str, Any] = {"flush_interval": 3_600.0, "flush_at": 1_000, "max_retries": 0}


@pytest.fixture
def transport() -> MemoryTransport:
    return MemoryTransport()


@pytest.fixture
def client(transport: MemoryTransport) -> Iterator[Whisperr]:
    made = Whisperr("wrk_test", transport=transport, **QUIET)
    yield made
    made.shutdown(LIMIT)


@pytest.fixture(autouse=True)
def _no_override_is_left() -> Iterator[None]:
    yield
    assert OVERRIDES.pipeline is None
    assert OVERRIDES.strict is None


class TestRecording:
    def test_clients_made_before_and_meanwhile_and_disabled_ones_record(
        self, client: Whisperr, transport: MemoryTransport
    ) -> None:
        disabled = Whisperr(disabled=True)
        with capture() as events:
            fresh = Whisperr("wrk_test", transport=transport)
            ids = [one.track("42", "payment_failed") for one in (client, disabled, fresh)]
        assert [event.message_id for event in events] == ids
        assert len(set(ids)) == 3
        assert fresh.shutdown(LIMIT)
        assert transport.sent == []

    def test_a_client_without_a_key_is_made_recorded_and_disabled_afterwards(self) -> None:
        with capture() as events:
            client = Whisperr()
            client.track("42", "payment_failed")
        assert len(events) == 1
        assert not client.enabled
        assert client.track("42", "payment_failed") is None
        with pytest.raises(ValueError, match="WHISPERR_API_KEY"):
            Whisperr()

    def test_nothing_reaches_a_server_that_is_there(self) -> None:
        with LocalServer() as server, Whisperr("wrk_test", base_url=server.url) as client:
            with capture() as events:
                client.track("42", "payment_failed")
                client.identify("42", email="ada@example.com")
                assert client.flush(LIMIT)
            assert client.flush(LIMIT)
            assert (len(events), len(events.identifies)) == (1, 1)
            client.track("42", "payment_recovered")
            assert client.flush(LIMIT)
            assert [arrival.type for arrival in server.arrivals()] == ["payment_recovered"]

    def test_calls_of_other_threads_loops_and_pools_are_recorded(self, client: Whisperr) -> None:
        async def run() -> None:
            client.track("task", "trial_started")
            await asyncio.to_thread(client.track, "pool", "trial_started")
            await client.aflush(LIMIT)

        with capture() as events, ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda n: client.track(n, "trial_started"), range(100)))
            asyncio.run(run())
        assert {event.user for event in events} == {*map(str, range(100)), "task", "pool"}

    def test_a_thread_that_began_before_the_block_is_recorded(self, client: Whisperr) -> None:
        begin, done = threading.Event(), threading.Event()

        def wait_and_track() -> None:
            begin.wait(LIMIT)
            client.track("42", "trial_started")
            done.set()

        thread = threading.Thread(target=wait_and_track)
        thread.start()
        with capture() as events:
            begin.set()
            assert done.wait(LIMIT)
        thread.join(LIMIT)
        events.assert_tracked("trial_started", times=1)

    @pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="Windows has no such signal")
    def test_a_signal_handler_that_tracks_is_recorded(self, client: Whisperr) -> None:
        before = signal.signal(signal.SIGUSR1, lambda *_: client.track("42", "trial_started"))
        try:
            with capture() as events:
                os.kill(os.getpid(), signal.SIGUSR1)
                client.track("42", "trial_ended")
        finally:
            signal.signal(signal.SIGUSR1, before)
        assert {event.type for event in events} == {"trial_started", "trial_ended"}

    def test_two_captures_at_once_both_record_in_any_order_of_ending(
        self, client: Whisperr
    ) -> None:
        first, second = capture(), capture()
        one = first.__enter__()
        client.track("42", "first")
        two = second.__enter__()
        client.track("42", "both")
        first.__exit__(None, None, None)
        client.track("42", "second")
        second.__exit__(None, None, None)
        assert [event.type for event in one] == ["first", "both"]
        assert [event.type for event in two] == ["both", "second"]


class TestAsInProduction:
    def test_events_are_what_the_options_of_the_client_make_of_them(self) -> None:
        def review(event: dict[str, Any]) -> dict[str, Any] | None:
            del event["properties"]["email"]
            return event

        client = Whisperr(
            "wrk_test", app_version="1.2", test_mode=True, before_send=review, **QUIET
        )
        with capture() as events:
            client.track(42, "payment_failed", {"email": "ada@example.com", "amount": 1})
        event = events.one()
        assert (event.user, event.properties) == ("42", {"amount": 1})
        assert event.context["app_version"] == "1.2"
        assert event.context["$mode"] == "test"
        assert event.context["sdk_name"] == "whisperr-python"

    def test_a_vetoed_event_is_not_recorded(self) -> None:
        client = Whisperr("wrk_test", before_send=lambda _: None, **QUIET)
        with capture() as events:
            assert client.track("42", "payment_failed") is None
            assert client.stats().not_accepted == {"vetoed": 1}
        assert events == events.refused == []

    def test_an_event_that_no_queue_could_hold_is_dropped(self) -> None:
        client = Whisperr("wrk_test", max_queue_bytes=1024, **QUIET)
        with capture() as events:
            assert client.track("42", "payment_failed", {"text": "x" * 2_000}) is None
            assert client.stats().dropped == {"too_large": 1}
        assert events == []

    def test_bad_input_is_reported_by_the_end_of_the_block(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        reported: list[WhisperrError] = []
        client = Whisperr("wrk_test", on_error=reported.append, **QUIET)
        with capture() as events:
            assert client.track("42", "Payment Failed") is None
            client.identify(None)
        assert events == []
        assert sum(error.count for error in reported) == 2
        assert {error.reason for error in reported} == {"invalid"}
        assert "dropped, invalid" in caplog.text
        first, second = events.refused
        assert first.startswith("track: event_type: got 'Payment Failed'; must be lowercase")
        assert second.startswith("identify: external_user_id: ")
        assert all(f"(at {__file__}:" in sentence for sentence in events.refused)

    def test_a_call_after_the_shutdown_is_refused(self, client: Whisperr) -> None:
        with capture() as events:
            assert client.shutdown(LIMIT)
            assert client.track("42", "payment_failed") is None
            assert not client.ready
        assert events == []
        assert events.refused[0].startswith("track: the client is shut down (at ")

    def test_an_interrupted_call_is_not_recorded_as_refused(self, client: Whisperr) -> None:
        with capture() as events, pytest.raises(KeyboardInterrupt):
            client.track("42", "payment_failed", {"stopped": Interrupts()})
        assert events == events.refused == []


class Interrupts:
    """A value that is interrupted with Ctrl-C while it is read."""

    def __str__(self) -> str:
        raise KeyboardInterrupt


class TestStrictness:
    def test_each_client_keeps_its_own_unless_the_block_overrides_it(self) -> None:
        loose = Whisperr("wrk_test", **QUIET)
        severe = Whisperr("wrk_test", strict=True, **QUIET)
        with capture():
            assert loose.track("42", "Payment Failed") is None
            with pytest.raises(InvalidEvent):
                severe.track("42", "Payment Failed")
        with capture(strict=True) as events:
            with pytest.raises(InvalidEvent, match="event_type"):
                loose.track("42", "Payment Failed")
            assert len(events.refused) == 1
        with capture(strict=False):
            assert severe.track("42", "Payment Failed") is None

    def test_the_newest_block_that_sets_strict_decides(self, client: Whisperr) -> None:
        with strict(), capture(), capture(strict=False):
            assert client.track("42", "Payment Failed") is None
        with capture(strict=False), strict(), capture(), pytest.raises(InvalidEvent):
            client.track("42", "Payment Failed")

    def test_blocks_may_end_in_any_order(self, client: Whisperr) -> None:
        first, second = strict(strict=True), strict(strict=False)
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        assert client.track("42", "Payment Failed") is None
        second.__exit__(None, None, None)
        assert client.track("42", "Payment Failed") is None

    def test_strict_works_without_a_capture(self, client: Whisperr) -> None:
        with strict(), pytest.raises(InvalidEvent):
            client.track("42", "Payment Failed")


class TestAfterwards:
    def test_held_events_are_delivered_and_recorded_ones_are_not(
        self, client: Whisperr, transport: MemoryTransport
    ) -> None:
        client.track("42", "before")
        with capture():
            client.track("42", "meanwhile")
            assert client.flush(LIMIT)
        client.track("42", "after")
        assert transport.sent == []
        assert client.flush(LIMIT)
        (request,) = transport.sent
        assert [event["event_type"] for event in request.events] == ["before", "after"]

    def test_a_client_shut_down_in_the_block_is_open_again_after_it(
        self, client: Whisperr, transport: MemoryTransport
    ) -> None:
        client.track("42", "before")
        with capture(), client:
            client.track("42", "meanwhile")
        assert client.ready
        assert repr(client).endswith(" open>")
        client.track("42", "after")
        assert client.flush(LIMIT)
        assert len(transport.taken[0].events) == 2

    def test_a_client_that_was_shut_down_before_records_and_is_closed_again(
        self, client: Whisperr
    ) -> None:
        client.shutdown(LIMIT)
        with capture() as events:
            client.track("42", "payment_failed")
        assert len(events) == 1
        assert not client.ready

    def test_a_disabled_client_is_disabled_again(self) -> None:
        client = Whisperr(disabled=True)
        with capture():
            assert client.ready
            assert client.shutdown(LIMIT)
        assert client.track("42", "payment_failed") is None
        assert client.stats().state == "disabled"

    def test_an_exception_in_the_block_passes_and_ends_it(self, client: Whisperr) -> None:
        with pytest.raises(KeyboardInterrupt), capture(strict=True):
            raise KeyboardInterrupt
        assert OVERRIDES.pipeline is None

    def test_the_thread_that_reported_bad_input_ends(self, client: Whisperr) -> None:
        before = set(threading.enumerate())
        with capture():
            client.track("42", "Payment Failed")
            started = set(threading.enumerate()) - before
        for thread in started:
            thread.join(LIMIT)
            assert not thread.is_alive()


class TestStats:
    def test_recorded_events_count_as_held_in_the_block(self, client: Whisperr) -> None:
        client.track("42", "before")
        before = client.stats()
        with capture():
            client.track("42", "meanwhile")
            client.identify("42", traits={"plan": "pro"})
            client.track("42", "Bad Name")
            stats = client.stats()
            assert (stats.accepted, stats.delivered, stats.held) == (2, 0, 2)
            assert stats.not_accepted == {"invalid": 1}
            assert (stats.dropped, stats.requests, stats.state) == ({}, 0, "running")
            assert stats.held_bytes == 0  # nothing waits in a queue
        assert client.stats() == before


def _track_in_child(client: Whisperr, into: Any) -> None:
    with capture() as events:
        client.track("child", "trial_started")
    into.put([(event.user, event.message_id) for event in events])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # forking with threads: the subject
class TestForks:
    def test_a_forked_child_records_for_itself_and_sends_nothing(
        self, client: Whisperr, transport: MemoryTransport
    ) -> None:
        context = multiprocessing.get_context("fork")
        with capture() as events:
            mine = client.track("parent", "trial_started")
            queue = context.SimpleQueue()
            child = context.Process(target=_track_in_child, args=(client, queue))
            child.start()
            ((user, message_id),) = queue.get()
            child.join(LIMIT)
            assert child.exitcode == 0
        assert (user, message_id != mine) == ("child", True)
        assert [event.user for event in events] == ["parent"]
        assert transport.sent == []

    def test_a_fork_while_another_thread_begins_a_capture_does_not_hang_the_child(
        self, client: Whisperr
    ) -> None:
        from whisperr.testing import _overrides

        taken, free = threading.Event(), threading.Event()

        def lock() -> None:
            with _overrides.get_lock():
                taken.set()
                free.wait(LIMIT)

        thread = threading.Thread(target=lock)
        thread.start()
        assert taken.wait(LIMIT)
        context = multiprocessing.get_context("fork")
        queue = context.SimpleQueue()
        child = context.Process(target=_track_in_child, args=(client, queue))
        child.start()
        child.join(LIMIT)
        free.set()
        thread.join(LIMIT)
        assert child.exitcode == 0
        assert len(queue.get()) == 1
