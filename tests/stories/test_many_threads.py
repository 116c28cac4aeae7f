"""Many threads use one client at once: no event is lost or counted twice, and no id is used twice.

Where the interpreter has no lock, these threads really run at the same time.
"""

from __future__ import annotations

from threading import Barrier, Event, Thread
from typing import TYPE_CHECKING

import pytest

from whisperr import Whisperr
from whisperr.dev import LocalServer
from whisperr.testing import MemoryTransport, capture

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

THREADS, EVENTS = 8, 250
BOUND = 120


@pytest.fixture
def server() -> Iterator[LocalServer]:
    with LocalServer(keep=THREADS * EVENTS) as started:
        yield started


def run_together(work: Callable[[int], object], threads: int = THREADS) -> None:
    """Call `work(number)` in threads that begin at one moment; raise what one of them raises."""
    start = Barrier(threads)
    failures: list[BaseException] = []

    def run(number: int) -> None:
        try:
            start.wait(BOUND)
            work(number)
        except BaseException as error:  # noqa: BLE001  # raised below
            failures.append(error)

    started = [Thread(target=run, args=(number,), daemon=True) for number in range(threads)]
    for one in started:
        one.start()
    for one in started:
        one.join(BOUND)
    assert not any(one.is_alive() for one in started)
    for error in failures:
        raise error


def track(client: Whisperr, number: int) -> list[str | None]:
    return [client.track(f"user_{number}", "clicked", {"n": n}) for n in range(EVENTS)]


def count(transport: MemoryTransport) -> int:
    return sum(len(request.events) for request in transport.taken)


@pytest.mark.parametrize("buffer", [None, "sqlite"])
def test_every_event_arrives_once_and_in_the_order_of_its_thread(
    server: LocalServer, buffer: str | None, tmp_path: Path
) -> None:
    url = None if buffer is None else f"sqlite:///{tmp_path.as_posix()}/events.db"
    client = Whisperr("wrk_test", base_url=server.url, flush_at=50, buffer=url)
    ids: list[str | None] = []
    run_together(lambda number: ids.extend(track(client, number)))
    assert client.shutdown(BOUND)
    assert None not in ids
    assert len({*ids}) == THREADS * EVENTS
    summary = server.summary()
    assert (summary["accepted"], summary["duplicates"]) == (THREADS * EVENTS, 0)
    for number in range(THREADS):
        arrived = server.arrivals(user=f"user_{number}")
        assert [one.body["properties"]["n"] for one in arrived] == [*range(EVENTS)]
    stats = client.stats()
    assert (stats.accepted, stats.delivered, stats.held) == (THREADS * EVENTS, THREADS * EVENTS, 0)


def test_the_counts_add_up_while_a_small_queue_drops_events() -> None:
    transport = MemoryTransport()
    client = Whisperr(
        "wrk_test", transport=transport, max_queue_size=20, flush_at=5, flush_interval=0.05
    )
    ended = Event()

    def work(number: int) -> None:
        if number == 0:
            while not ended.is_set():
                client.flush(1.0)
        elif number == 1:
            while not ended.is_set():
                stats = client.stats()
                gone = stats.delivered + sum(stats.dropped.values())
                assert stats.accepted >= gone
                assert stats.held_bytes >= 0
        else:
            try:
                track(client, number)
            finally:
                running.discard(number)
                if not running:
                    ended.set()

    running = {*range(2, THREADS)}
    run_together(work)
    client.shutdown(BOUND)
    stats = client.stats()
    total = (THREADS - 2) * EVENTS
    dropped = sum(stats.dropped.values())
    assert (stats.accepted, stats.delivered + dropped, stats.held) == (total, total, 0)
    assert count(transport) == stats.delivered


def test_clients_are_made_used_and_ended_at_once() -> None:
    transports = [MemoryTransport() for _ in range(THREADS * 5)]

    def work(number: int) -> None:
        for transport in transports[number * 5 : number * 5 + 5]:
            client = Whisperr("wrk_test", transport=transport, flush_at=1)
            client.track("user_1", "clicked")
            assert client.shutdown(BOUND)

    run_together(work)
    assert [count(one) for one in transports] == [1] * len(transports)


def test_a_client_that_is_ended_by_many_threads_counts_each_event_once() -> None:
    transport = MemoryTransport()
    client = Whisperr("wrk_test", transport=transport, flush_at=7)

    def work(number: int) -> None:
        track(client, number)
        client.shutdown(BOUND)

    run_together(work)
    stats = client.stats()
    refused = stats.not_accepted.get("closed", 0)
    dropped = sum(stats.dropped.values())
    assert stats.accepted + refused == THREADS * EVENTS
    assert (stats.delivered + dropped, stats.held) == (stats.accepted, 0)


def test_a_capture_counts_each_event_once() -> None:
    client = Whisperr("wrk_test", transport=MemoryTransport())
    with capture() as events:
        run_together(lambda number: track(client, number))
        assert len(events.named("clicked")) == THREADS * EVENTS
