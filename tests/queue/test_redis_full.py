"""A Redis server without free memory accepts no more events, but can be emptied."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

import pytest

from tests.delivery.rig import event
from tests.queue.processes import RedisProcesses
from tests.queue.queues import get_accounting
from tests.queue.store_contract import OLD, claim, claim_all, put, to_numbers, trust_clock
from whisperr import Whisperr
from whisperr._queue.redis.keys import get_key
from whisperr._queue.store import StoreFullError
from whisperr.errors import Loss, NotNow
from whisperr.testing import MemoryTransport

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.redis_server import RedisServer


@pytest.fixture
def processes(redis_server: RedisServer, tmp_path: Path) -> Iterator[RedisProcesses]:
    made = RedisProcesses(redis_server, tmp_path.name)
    yield made
    set_full(made, full=False)
    made.close_all()


def set_full(processes: RedisProcesses, *, full: bool) -> None:
    """Make the server full, or lift its limit."""
    processes.client.config_set("maxmemory-policy", "noeviction")
    processes.client.config_set("maxmemory", 1 if full else 0)


def test_it_can_be_emptied(processes: RedisProcesses) -> None:
    a, b = processes.start(), processes.start()
    put(a, 1, 2, 3)
    put(b, 4)
    set_full(processes, full=True)
    assert claim(a, 2) == [1, 2]
    assert a.extend(60)
    assert a.ack(1) == 1
    assert list(a.release()) == []
    assert claim_all(b) == [2, 3, 4]
    a.poll()
    assert get_accounting(a).settled == {"delivered": 2}
    assert get_accounting(a).problem is get_accounting(b).problem is None
    assert a.settled(a.tail())


def test_what_it_does_not_take_waits_in_memory_behind_what_it_has(
    processes: RedisProcesses,
) -> None:
    a = processes.start()
    put(a, 1, 2)
    set_full(processes, full=True)
    put(a, 3)
    problem = get_accounting(a).problem or ""
    assert "the server is full (maxmemory)" in problem
    assert len(get_accounting(a).reports) == 1
    assert (len(a), a.stored) == (3, 2)
    batches = []
    for more in (11, 12):
        batches.append(to_numbers(a.claim(10)))
        a.ack(len(batches[-1]))
        put(a, more)
        processes.pass_retry()
    while batch := a.claim(10):
        batches.append(to_numbers(batch))
        a.ack(len(batch))
    assert batches[0] == [1, 2]
    assert sorted(chain.from_iterable(batches)) == [1, 2, 3, 11, 12]
    assert len(get_accounting(a).reports) == 1
    a.claim(10)
    a.poll()
    assert get_accounting(a).problem == problem  # it took nothing yet


def test_when_it_has_room_again_what_is_in_memory_is_moved_there(
    processes: RedisProcesses,
) -> None:
    a = processes.start()
    set_full(processes, full=True)
    put(a, 1, 2)
    assert processes.get_stored() == []
    set_full(processes, full=False)
    processes.pass_retry()
    put(a, 3)
    assert to_numbers(processes.get_stored()) == [1, 2, 3]
    assert get_accounting(a).problem is None


def test_damage_heals_while_it_is_full(processes: RedisProcesses) -> None:
    a = processes.start()
    put(a, 1)
    processes.client.xadd(processes.stream, {"foo": "bar"})
    processes.client.hset(get_key(processes.stream, "state"), "bytes", "abc")
    processes.client.set(get_key(processes.stream, "lease"), "another")
    set_full(processes, full=True)
    a.poll()
    with pytest.raises(NotNow):
        a.claim(10)
    processes.client.delete(get_key(processes.stream, "lease"))
    assert claim_all(a) == [1]
    assert get_accounting(a).lost_others == 1


def test_a_client_delivers_from_it_under_traffic(
    processes: RedisProcesses, redis_server: RedisServer
) -> None:
    """Before it was full, other processes had left more than one batch there."""
    left = processes.start(max_events=5_000)
    for number in range(1_200):
        left.put(event(number))
    transport = MemoryTransport()
    set_full(processes, full=True)
    client = Whisperr(
        "wrk_test",
        buffer=redis_server.url(processes.stream, timeout=5),
        transport=transport,
        on_error=lambda _: None,
        flush_at=1,
    )
    for number in range(50):
        client.track("u", "e", {"n": number})
    assert client.flush(30)
    assert client.stats().delivered == 50
    for _ in range(10):
        client.track("u", "e")
        assert client.flush(30)
        left.poll()
    assert left.stored == 0
    assert client.shutdown(30)
    left.poll()
    assert get_accounting(left).settled == {"delivered": 1_200}


class Calls:
    """Runs every script once, in a way that makes it write all that it can write."""

    def __init__(self, processes: RedisProcesses) -> None:
        self.processes = processes
        self.client = processes.client
        self.stream = processes.stream
        self.queues = [processes.start(max_events=4) for _ in range(2)]
        self.a, self.b = (queue._store for queue in self.queues)

    def claim(self) -> None:
        """CLAIM sets entries aside; MARK removes old and damaged ones."""
        self.client.delete(get_key(self.stream, "lease"))
        self.client.hdel(get_key(self.stream, "state"), "bytes")
        batch, expired = self.b.claim(10)
        assert to_numbers(batch) == [2, 3]
        assert len(expired) == 1
        assert self.b.take_rejected() == 2

    def lease(self) -> None:
        """CLAIM gives a lease without an end one; EXTEND renews one whose claim is forgotten."""
        assert to_numbers(self.b.claim(1)[0]) == [4]
        self.client.delete(get_key(self.stream, "state"), get_key(self.stream, "lease"))
        assert self.b.extend(60)
        self.client.persist(get_key(self.stream, "lease"))
        with pytest.raises(NotNow):
            self.a.claim(10)
        assert self.client.pttl(get_key(self.stream, "lease")) > 0
        assert [*self.b.release()] == []

    def ack(self) -> None:
        """ACK counts for another process, also when a part of the batch has vanished."""
        self.client.xdel(self.stream, self.client.xrange(self.stream)[0][0])
        assert self.b.ack(1, Loss(1, "rejected", "no", 400)) == 1

    def release(self) -> None:
        """RELEASE drops what is too much, and counts it for another process."""
        dropped = self.b.release()
        assert to_numbers(dropped) == [3]

    def poll(self) -> None:
        """GONE corrects the sums."""
        self.client.hdel(get_key(self.stream, "state"), "rows")
        found = self.a.poll() or {}
        assert dict(found) == {"expired": 1, "lost_in_store": 1, "queue_full": 1}


def test_every_script_but_that_which_adds_runs_while_it_is_full(
    processes: RedisProcesses,
) -> None:
    calls = Calls(processes)
    a, b = calls.queues
    trust_clock(b)
    a.put(OLD)
    put(a, 2, 3)
    processes.client.xadd(processes.stream, {"foo": "bar"})
    processes.client.xadd(processes.stream, {"1:1": "{damaged"})
    set_full(processes, full=True)
    calls.claim()
    calls.ack()
    set_full(processes, full=False)
    put(b, 4, 5, 6, 7)
    set_full(processes, full=True)
    calls.release()
    calls.poll()
    calls.lease()
    with pytest.raises(StoreFullError):
        calls.a.append([event(8)], 3)
    with pytest.raises(StoreFullError):
        calls.b.adopt([event(8)], 5, 0)  # type: ignore[attr-defined]  # of the Redis store
    assert claim_all(a) == [4, 5, 6, 7]
