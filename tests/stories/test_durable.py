"""A client with a durable buffer, while its store fails and at shutdown."""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event
from typing import TYPE_CHECKING

import pytest

from tests.facilities import needs_open_files_to_move
from whisperr import Whisperr
from whisperr._queue.durable import LeasedQueue
from whisperr._queue.sqlite.store import SQLiteStore
from whisperr.dev import LocalServer, faults

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.redis_server import RedisServer
    from whisperr import WhisperrError

    from .conftest import MakeClient

# A call waits for a lock for a quarter of a second at most, once a second. Machines are noisy; a
# call that waits for as long as the store is away would take far longer.
BOUND = 5.0
LIMIT = 60.0
NO_USER = 65_534


def track(client: Whisperr, *numbers: int) -> float:
    """Track, and return how long the slowest call took."""
    slowest = 0.0
    for number in numbers:
        began = time.perf_counter()
        assert client.track("user_1", "payment_failed", {"n": number})
        slowest = max(slowest, time.perf_counter() - began)
    return slowest


def arrived(server: LocalServer) -> list[int]:
    assert server.arrivals(status="refused") == []
    return [one.body["properties"]["n"] for one in server.arrivals(status="accepted")]


def counts_add_up(client: Whisperr) -> bool:
    stats = client.stats()
    return stats.accepted == stats.delivered + sum(stats.dropped.values()) + stats.held


def deliver_all(client: Whisperr) -> None:
    deadline = time.monotonic() + LIMIT
    while not client.flush(BOUND):
        assert time.monotonic() < deadline, client.stats()


def wait_until(holds: Callable[[], bool]) -> None:
    """Wait until something holds that other threads bring about."""
    deadline = time.monotonic() + LIMIT
    while not holds():
        assert time.monotonic() < deadline
        Event().wait(0.005)


def wait_until_stored(client: Whisperr) -> None:
    """Wait until nothing is in memory only."""
    wait_until(lambda: client.stats().unstored == 0)


def not_durable(errors: list[WhisperrError]) -> list[str]:
    return [error.message for error in errors if error.type == "not_durable"]


@contextmanager
def lock(path: Path) -> Iterator[None]:
    """Lock the file by another connection."""
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        other.execute("ROLLBACK")
        other.close()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "events.db"


def test_while_the_file_is_locked_calls_return_and_nothing_is_lost(
    server: LocalServer, make_client: MakeClient, errors: list[WhisperrError], file: Path
) -> None:
    client = make_client(buffer=f"sqlite:///{file}", flush_interval=3_600, flush_at=10_000)
    track(client, 0)
    with lock(file):
        assert track(client, *range(1, 300)) < BOUND
        assert not client.flush(0.5) or arrived(server)
        assert "locked" in (client.stats().problem or "")
        assert (client.stats().unstored, counts_add_up(client)) == (0, True)
    deliver_all(client)
    assert arrived(server) == list(range(300))
    assert not_durable(errors) == []
    stats = client.stats()
    assert (stats.accepted, stats.delivered, stats.held, stats.problem) == (300, 300, 0, None)


def test_while_the_file_is_locked_events_are_delivered_from_memory(
    server: LocalServer, make_client: MakeClient, file: Path
) -> None:
    client = make_client(buffer=f"sqlite:///{file}", flush_interval=0.05)
    track(client, 0)
    server.wait(1, timeout=LIMIT)
    with lock(file):
        track(client, *range(1, 100))
        server.wait(100, timeout=LIMIT)
    assert arrived(server) == list(range(100))
    # The first may have been sent a second time with the same id, if it was not acknowledged in
    # the file before the lock.
    deliver_all(client)
    assert client.stats().delivered == 100


@pytest.mark.skipif(not hasattr(os, "seteuid"), reason="os.seteuid: not on this platform")
def test_a_read_only_file_is_reported_and_no_event_is_lost(
    server: LocalServer, make_client: MakeClient, errors: list[WhisperrError]
) -> None:
    # Load all modules as root: other users may not be able to import what root has installed.
    with LocalServer() as other, Whisperr("wrk_test", base_url=other.url) as first:
        first.track("u", "modules_loaded")
    with TemporaryDirectory() as home:
        file = Path(home) / "events.db"
        with Whisperr("wrk_test", base_url=server.url, buffer=f"sqlite:///{file}"):
            pass
        was = os.geteuid()
        file.chmod(0o400)
        Path(home).chmod(0o555)
        if was == 0:  # root may write everything
            os.seteuid(NO_USER)
        try:
            client = make_client(buffer=f"sqlite:///{file}", flush_interval=0.05)
            assert track(client, *range(50)) < BOUND
            server.wait(50, timeout=LIMIT)
            reason = "belongs to the user with id 0" if was == 0 else "readonly"
            assert reason in not_durable(errors)[0]
            assert client.shutdown(BOUND)
        finally:
            os.seteuid(was)
            Path(home).chmod(0o755)
    assert arrived(server) == list(range(50))
    assert client.stats().delivered == 50


def test_a_shutdown_keeps_undelivered_events_in_the_file(
    server: LocalServer, make_client: MakeClient, errors: list[WhisperrError], file: Path
) -> None:
    server.set_faults(faults.status(503))
    client = make_client(buffer=f"sqlite:///{file}")
    track(client, 1, 2, 3)
    began = time.monotonic()
    assert client.shutdown(1.0) is False
    assert time.monotonic() - began < BOUND
    assert client.stats().dropped == {}
    assert client.stats().held == 3
    assert "dropped" not in {error.type for error in errors}
    requests = server.summary()["requests"]
    server.set_faults()
    assert client.track("user_1", "payment_failed") is None
    assert server.summary()["requests"] == requests
    later = make_client(buffer=f"sqlite:///{file}", flush_interval=0.05)
    server.wait(3, timeout=LIMIT, status="accepted")
    assert arrived(server) == [1, 2, 3]
    assert later.stats().accepted == 0


@pytest.mark.parametrize("fault", [faults.hang(), faults.drip(0.5)], ids=["hangs", "drips"])
def test_a_shutdown_is_bounded_whatever_the_server_does(
    server: LocalServer, make_client: MakeClient, file: Path, fault: faults.Fault
) -> None:
    server.set_faults(fault)
    client = make_client(buffer=f"sqlite:///{file}")
    track(client, 1)
    began = time.monotonic()
    client.shutdown(0.5)
    assert time.monotonic() - began < BOUND


def test_a_shutdown_does_not_wait_longer_for_another_process_than_it_may(
    server: LocalServer, make_client: MakeClient, file: Path
) -> None:
    holder = make_client(buffer=f"sqlite:///{file}", request_timeout=60.0)
    server.set_faults(faults.hang(times=1))
    track(holder, 1)
    holder.flush(0.5)
    server.wait_requests(1, timeout=LIMIT)
    other = make_client(buffer=f"sqlite:///{file}")
    track(other, 2)
    began = time.monotonic()
    assert other.shutdown(0.5) is False
    assert time.monotonic() - began < BOUND
    assert other.stats().held == 1
    server.close()  # ends the request that hangs


def test_a_flush_waits_for_the_process_that_delivers(
    server: LocalServer, make_client: MakeClient, file: Path
) -> None:
    holder = make_client(buffer=f"sqlite:///{file}", flush_at=1)
    other = make_client(buffer=f"sqlite:///{file}", flush_at=1_000, flush_interval=3_600)
    server.set_faults(faults.latency(0.5, times=1))
    track(other, 1)
    track(holder, 2)
    assert other.flush(LIMIT)
    assert arrived(server)[:1] == [1]
    assert (other.stats().delivered, other.stats().held) == (1, 0)
    assert counts_add_up(holder)


def test_a_loss_in_another_process_is_counted_by_the_one_that_accepted_it(
    server: LocalServer, make_client: MakeClient, errors: list[WhisperrError], file: Path
) -> None:
    mine = make_client(buffer=f"sqlite:///{file}", flush_at=1_000, flush_interval=3_600)
    track(mine, 1, 2)
    queue = mine._get_pipeline().queue
    assert isinstance(queue, LeasedQueue)
    queue.poll()  # moves them from the log into the file
    server.set_faults(faults.status(410, times=1))
    other = make_client(buffer=f"sqlite:///{file}", flush_interval=0.05)
    server.wait_requests(1, timeout=LIMIT)
    deadline = time.monotonic() + LIMIT
    while mine.stats().held:
        assert time.monotonic() < deadline
        mine.flush(0.1)
    assert (mine.stats().accepted, mine.stats().dropped) == (2, {"rejected": 2})
    assert (other.stats().accepted, other.stats().dropped) == (0, {})
    assert [(error.reason, error.count) for error in errors] == [("rejected", 2)]


def test_a_full_queue_drops_the_oldest_events_of_the_file(
    make_client: MakeClient, errors: list[WhisperrError], file: Path, server: LocalServer
) -> None:
    client = make_client(
        buffer=f"sqlite:///{file}", max_queue_size=10, flush_at=1_000, flush_interval=3_600
    )
    track(client, *range(25))
    assert client.flush(LIMIT)
    # The first one may have been on its way from the log into the file, out of reach of the bound.
    assert arrived(server)[1:] == list(range(16, 25))
    assert client.stats().dropped == {"queue_full": 15}
    client.shutdown()  # reports what is not reported yet
    assert sum(error.count for error in errors if error.reason == "queue_full") == 15


def test_a_full_disk_is_reported_and_no_event_is_lost(
    server: LocalServer, make_client: MakeClient, errors: list[WhisperrError], file: Path
) -> None:
    client = make_client(buffer=f"sqlite:///{file}", flush_at=10_000, flush_interval=3_600)
    track(client, 0)
    queue = client._get_pipeline().queue
    assert isinstance(queue, LeasedQueue)
    store = queue._store
    assert isinstance(store, SQLiteStore)
    queue.poll()  # so that the file is there
    session = store._session
    queue._use(lambda: session.read(lambda db, _: db.execute("PRAGMA max_page_count = 20")), None)
    assert track(client, *range(1, 1_000)) < BOUND
    queue.poll()
    assert store.waiting < 1_000
    assert (client.stats().stored, client.stats().unstored) == (1_000, 0)
    assert "full" in (client.stats().problem or "")
    deliver_all(client)
    assert sorted(arrived(server)) == list(range(1_000))
    assert not_durable(errors) == []
    assert counts_add_up(client)
    assert client.stats().delivered == 1_000


def test_while_redis_is_away_calls_return_and_nothing_is_lost(
    server: LocalServer,
    make_client: MakeClient,
    errors: list[WhisperrError],
    redis_server: RedisServer,
    tmp_path: Path,
) -> None:
    url = redis_server.url(tmp_path.name, timeout=1)
    client = make_client(buffer=url, flush_at=10_000, flush_interval=3_600)
    track(client, *range(10))
    wait_until_stored(client)
    redis_server.stop()
    try:
        assert track(client, *range(10, 300)) < BOUND
        assert counts_add_up(client)
        wait_until(lambda: client.stats().problem is not None)
        assert "redis://127.0.0.1" in (client.stats().problem or "")
        assert (client.stats().stored, client.stats().unstored) == (10, 290)
    finally:
        redis_server.start()
    deliver_all(client)
    assert arrived(server) == list(range(300))
    assert len(not_durable(errors)) == 1
    stats = client.stats()
    assert (stats.accepted, stats.delivered, stats.held, stats.stored) == (300, 300, 0, 0)


def test_while_redis_is_away_events_are_delivered_from_memory(
    server: LocalServer, make_client: MakeClient, redis_server: RedisServer, tmp_path: Path
) -> None:
    client = make_client(buffer=redis_server.url(tmp_path.name, timeout=1), flush_interval=0.05)
    redis_server.stop()
    try:
        track(client, *range(50))
        server.wait(50, timeout=LIMIT)
        assert client.flush(LIMIT)
        assert client.stats().delivered == 50
    finally:
        redis_server.start()


def test_a_shutdown_while_redis_is_away_is_bounded_and_reports_the_loss(
    server: LocalServer, make_client: MakeClient, redis_server: RedisServer, tmp_path: Path
) -> None:
    server.set_faults(faults.status(503))
    client = make_client(buffer=redis_server.url(tmp_path.name, timeout=1))
    track(client, 1)
    wait_until_stored(client)
    redis_server.stop()
    try:
        track(client, 2, 3)
        began = time.monotonic()
        assert client.shutdown(1.0) is False
        assert time.monotonic() - began < 2 * BOUND
    finally:
        redis_server.start()
    assert (client.stats().dropped, client.stats().held) == ({"shutdown": 2}, 1)
    server.set_faults()
    make_client(buffer=redis_server.url(tmp_path.name), flush_interval=0.05)
    server.wait(1, timeout=LIMIT, status="accepted")
    assert arrived(server) == [1]


@needs_open_files_to_move
def test_events_that_vanish_with_their_file_are_reported_and_held_no_more(
    server: LocalServer, make_client: MakeClient, errors: list[WhisperrError], file: Path
) -> None:
    client = make_client(buffer=f"sqlite:///{file}", flush_at=10_000, flush_interval=3_600)
    track(client, *range(5))
    queue = client._get_pipeline().queue
    assert isinstance(queue, LeasedQueue)
    queue.poll()  # moves them from the log into the file
    for path in file.parent.glob("events.db*"):
        if path.is_file():
            path.unlink()
    track(client, 5)
    deliver_all(client)
    assert arrived(server) == [5]
    stats = client.stats()
    assert (stats.dropped, stats.held, stats.delivered) == ({"lost_in_store": 5}, 0, 1)
    client.shutdown()
    lost = [error for error in errors if error.reason == "lost_in_store"]
    assert [(error.type, error.count, error.events) for error in lost] == [("dropped", 5, ())]


def test_after_the_end_a_client_has_counted_what_another_one_delivered(
    server: LocalServer, make_client: MakeClient, file: Path
) -> None:
    first = make_client(buffer=f"sqlite:///{file}", flush_at=10_000, flush_interval=3_600)
    track(first, *range(5))
    with Whisperr("wrk_test", base_url=server.url, buffer=f"sqlite:///{file}") as other:
        track(other, 5)
        deliver_all(other)
    assert first.shutdown(BOUND)
    assert (first.stats().delivered, first.stats().held) == (5, 0)
    assert sorted(arrived(server)) == list(range(6))


def test_a_wrong_path_costs_no_file_and_no_event(
    server: LocalServer, make_client: MakeClient, errors: list[WhisperrError], file: Path
) -> None:
    config = file.with_name("config.json")
    config.write_text('{"debug": true}')
    client = make_client(buffer=f"sqlite:///{config}", flush_interval=0.05)
    track(client, *range(5))
    server.wait(5, timeout=LIMIT)
    assert "not a SQLite database" in (client.stats().problem or "")
    assert client.shutdown(BOUND)
    assert config.read_text() == '{"debug": true}'
    assert sorted(path.name for path in file.parent.iterdir()) == ["config.json", "config.json-log"]
    assert [*file.with_name("config.json-log").iterdir()] == []
    assert not_durable(errors) == []
