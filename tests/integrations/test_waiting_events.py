"""Events that wait for their user are counted, bounded, and reported when they are lost."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
from contextvars import ContextVar, copy_context
from typing import TYPE_CHECKING, Any

import pytest

from tests.interrupting import interrupt_everywhere
from whisperr import Answer, Whisperr, WhisperrError
from whisperr._client import get_pipeline
from whisperr._integrations.deferred import (
    UNKNOWN,
    Pending,
    Unread,
    defer_event,
    defer_identify,
    run_in_context,
)
from whisperr._integrations.flushing import flush_before_end
from whisperr._integrations.tracker import DeferringTracker
from whisperr._process import event_loop
from whisperr.testing import MemoryTransport

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BOUND = 30.0


class Waiting(DeferringTracker):
    """A tracker whose users take an `await`, and are all read as ada."""

    __slots__ = ()

    def __init__(self, client: Whisperr) -> None:
        async def read() -> str:
            return "ada"

        super().__init__(lambda: client, lambda: Unread(read, self), Pending())


@pytest.fixture
def errors() -> list[WhisperrError]:
    return []


@pytest.fixture
def make_client(errors: list[WhisperrError]) -> Iterator[Callable[..., Whisperr]]:
    made: list[Whisperr] = []

    def make(**options: Any) -> Whisperr:
        given = {"transport": MemoryTransport(), "flush_interval": 3600, "flush_at": 1_000_000}
        made.append(Whisperr("wrk_test", on_error=errors.append, **{**given, **options}))
        return made[-1]

    yield make
    for client in made:
        client.shutdown(0)


def assert_balanced(client: Whisperr) -> None:
    stats = client.stats()
    assert stats.accepted == stats.delivered + sum(stats.dropped.values()) + stats.held


class TestBounds:
    def test_more_than_the_queue_may_hold_are_dropped_at_once_and_no_more_when_they_settle(
        self, make_client: Callable[..., Whisperr], errors: list[WhisperrError]
    ) -> None:
        client = make_client(max_queue_size=100)
        tracker = Waiting(client)
        ids = [tracker.track("seat_added", {"n": number}) for number in range(400)]
        assert [one is not None for one in ids] == [True] * 100 + [False] * 300
        stats = client.stats()
        assert (stats.accepted, stats.held, stats.dropped) == (400, 100, {"queue_full": 300})
        asyncio.run(tracker.pending.settle())
        assert client.flush(BOUND)
        stats = client.stats()
        assert (stats.delivered, stats.held, stats.dropped) == (100, 0, {"queue_full": 300})
        client.shutdown(BOUND)  # emits the rest of the summary
        assert sum(error.count for error in errors) == 300
        assert errors[0].reason == "queue_full"
        assert "wait for their user" in errors[0].message

    def test_what_is_in_the_queue_counts_as_well(
        self, make_client: Callable[..., Whisperr]
    ) -> None:
        client = make_client(max_queue_size=10)
        for _ in range(8):
            client.track("u", "seat_added")
        tracker = Waiting(client)
        assert [tracker.track("seat_added") is not None for _ in range(3)] == [True, True, False]

    def test_while_the_queue_is_full_the_newest_still_replace_the_oldest(
        self, make_client: Callable[..., Whisperr]
    ) -> None:
        client = make_client(max_queue_size=10)
        for number in range(10):
            client.track("u", "seat_added", {"n": number})
        tracker = Waiting(client)
        assert tracker.track("seat_added", {"n": 10}) is not None
        asyncio.run(tracker.pending.settle())
        assert client.flush(BOUND)
        transport: Any = client._config.transport
        numbers = [event["properties"]["n"] for sent in transport.sent for event in sent.events]
        assert numbers == list(range(1, 11))
        assert client.stats().dropped == {"queue_full": 1}

    def test_bytes_are_bounded_as_well(self, make_client: Callable[..., Whisperr]) -> None:
        client = make_client(max_queue_bytes=10_000)
        tracker = Waiting(client)
        kept = [tracker.track("seat_added", {"text": "x" * 3_000}) for _ in range(5)]
        assert [one is not None for one in kept] == [True, True, True, False, False]
        assert 9_000 < client.stats().held_bytes <= 10_000
        assert tracker.track("seat_added", {"text": "x" * 20_000}) is None
        assert client.stats().dropped == {"queue_full": 2, "too_large": 1}
        assert_balanced(client)

    def test_ten_thousand_requests_that_wait_at_once_are_all_delivered(
        self, make_client: Callable[..., Whisperr]
    ) -> None:
        client = make_client()
        trackers = [Waiting(client) for _ in range(10_000)]
        for tracker in trackers:
            tracker.track("logged_in")
        assert client.stats().held == 10_000

        async def main() -> None:
            for tracker in trackers:
                await tracker.pending.settle()

        asyncio.run(main())
        assert client.flush(BOUND)
        stats = client.stats()
        assert (stats.delivered, stats.dropped) == (10_000, {})


class TestTheEnd:
    def test_what_never_got_its_user_is_reported_at_the_shutdown(
        self, make_client: Callable[..., Whisperr], errors: list[WhisperrError]
    ) -> None:
        client = make_client()
        tracker = Waiting(client)
        for _ in range(3):
            tracker.track("seat_added")
        assert client.shutdown(BOUND) is False
        (error,) = errors
        assert (error.reason, error.count) == ("shutdown", 3)
        stats = client.stats()
        assert (stats.accepted, stats.held, stats.dropped) == (3, 0, {"shutdown": 3})
        asyncio.run(tracker.pending.settle())
        assert client.stats() == stats

    def test_one_that_settles_while_the_client_shuts_down_is_delivered(
        self, make_client: Callable[..., Whisperr]
    ) -> None:
        tracker: list[Waiting] = []

        def answer(_: object) -> Answer:
            if tracker:
                asyncio.run(tracker.pop().pending.settle())
            return Answer(202)

        client = make_client(transport=MemoryTransport(answer))
        client.track("u", "seat_added")
        tracker.append(Waiting(client))
        tracker[0].track("seat_added")
        assert client.shutdown(BOUND)
        assert client.stats().delivered == 2

    def test_a_server_that_ends_before_the_users_are_known_logs_how_many_wait(
        self, make_client: Callable[..., Whisperr], caplog: pytest.LogCaptureFixture
    ) -> None:
        client = make_client()
        kept = [defer_event(client, UNKNOWN, "seat_added") for _ in range(2)]
        pipeline = get_pipeline(client)
        assert pipeline is not None
        flush_before_end([pipeline], 0.01, event_loop.Waiting())
        (record,) = caplog.records
        assert record.getMessage().startswith("whisperr: 2 events still wait for their user ")
        assert vars(record)["whisperr_count"] == 2
        assert all(one is not None and one.settle("ada") for one in kept)
        assert client.stats().held == 2

    def test_a_process_that_ends_reports_what_waits(self) -> None:
        program = (
            "from whisperr import Whisperr\n"
            "from whisperr._integrations.deferred import UNKNOWN, defer_event\n"
            "client = Whisperr('wrk_test', base_url='http://127.0.0.1:9')\n"
            "kept = defer_event(client, UNKNOWN, 'seat_added')\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True,
            text=True,
            timeout=BOUND,
            check=True,
        )
        assert "whisperr: events still waited for their user or a commit" in done.stderr
        assert "Traceback" not in done.stderr


class TestNoEvent:
    """What turns out to be none is neither accepted nor held, and reported where it is a loss."""

    def test_an_anonymous_visitor(self, make_client: Callable[..., Whisperr]) -> None:
        client = make_client()
        deferred = defer_event(client, UNKNOWN, "seen")
        assert deferred is not None
        assert client.stats().held == 1
        assert deferred.settle(None) is False
        assert (client.stats().accepted, client.stats().held) == (0, 0)

    def test_what_nothing_can_queue_any_more_such_as_after_a_rollback(
        self, make_client: Callable[..., Whisperr]
    ) -> None:
        client = make_client()
        deferred = defer_identify(client, email="ada@example.com")
        assert client.stats().held == 1
        del deferred
        gc.collect()  # PyPy does not count references
        assert (client.stats().accepted, client.stats().held) == (0, 0)

    def test_a_cancelled_atrack(self, make_client: Callable[..., Whisperr]) -> None:
        client = make_client()

        async def read() -> str:
            await asyncio.sleep(60)
            return "ada"

        tracker = DeferringTracker(lambda: client, lambda: Unread(read, None), Pending())

        async def main() -> int:
            task = asyncio.create_task(tracker.atrack("seat_added"))
            await asyncio.sleep(0)
            waiting = client.stats().held
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            return waiting

        assert asyncio.run(main()) == 1
        assert client.stats().held == 0

    def test_an_interrupted_call_leaves_the_counts_right(
        self, make_client: Callable[..., Whisperr]
    ) -> None:
        def story(interrupt: Callable[[Callable[[], object]], object]) -> None:
            client = make_client()
            tracker = Waiting(client)
            interrupt(lambda: tracker.track("seat_added", {"n": 1}))
            kept = len(tracker.pending.pull())
            assert kept <= 1
            # What was pulled is gone, and so is its count.
            assert (client.stats().held, client.stats().held_bytes) == (0, 0)
            assert tracker.track("seat_added") is not None
            client.shutdown(0)

        assert interrupt_everywhere(story, every=3) > 20


class TestContexts:
    """The user is read with the variables of the call, wherever the event is settled."""

    name: ContextVar[str] = ContextVar("name", default="unknown")

    def read(self, reads: list[str]) -> Callable[[], Any]:
        async def resolve() -> str:
            await asyncio.sleep(0)
            reads.append(self.name.get())
            return reads[-1]

        return resolve

    def settle(self, client: Whisperr, names: list[str], reads: list[str]) -> list[Any]:
        pending, resolve = Pending(), self.read(reads)
        for name in names:
            context = copy_context()
            context.run(self.name.set, name)
            deferred = defer_event(client, UNKNOWN, "seat_added")
            pending.add(deferred, Unread(resolve, self, context=context.copy()))
        asyncio.run(pending.settle())
        client.flush(BOUND)
        transport: Any = client._config.transport
        return [event["external_user_id"] for sent in transport.sent for event in sent.events]

    def test_each_call_gets_the_user_of_its_context(
        self, make_client: Callable[..., Whisperr]
    ) -> None:
        assert self.settle(make_client(), ["ada", "grace"], []) == ["ada", "grace"]

    def test_calls_with_the_same_variables_share_one_read(
        self, make_client: Callable[..., Whisperr]
    ) -> None:
        reads: list[str] = []
        assert self.settle(make_client(), ["ada", "grace", "ada"], reads) == ["ada", "grace", "ada"]
        assert reads == ["ada", "grace"]

    def test_a_cancellation_reaches_the_coroutine_in_its_context(self) -> None:
        seen: list[str] = []

        async def work() -> None:
            try:
                await asyncio.sleep(60)
            finally:
                seen.append(self.name.get())

        async def main() -> None:
            context = copy_context()
            context.run(self.name.set, "ada")
            task = asyncio.create_task(_await(run_in_context(context, work())))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        asyncio.run(main())
        assert seen == ["ada"]

    def test_tasks_and_time_limits_work_in_it(self) -> None:
        async def work() -> list[str]:
            async def child() -> str:
                await asyncio.sleep(0)
                return self.name.get()

            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(asyncio.sleep(60), 0.01)
            return list(await asyncio.gather(child(), asyncio.create_task(child())))

        async def main() -> Any:
            context = copy_context()
            context.run(self.name.set, "ada")
            return await run_in_context(context, work())

        assert asyncio.run(main()) == ["ada", "ada"]


async def _await(awaitable: Any) -> Any:
    return await awaitable
