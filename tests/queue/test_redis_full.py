"""A Redis server without memory left takes no more events, but gives back those that it has."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

import pytest

from tests.delivery.rig import event
from tests.queue.processes import RedisProcesses
from tests.queue.queues import get_accounting
from tests.queue.store_contract import claim, claim_all, put, to_numbers
from whisperr import Whisperr
from whisperr._queue.redis_keys import get_key
from whisperr.errors import NotNow
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
    """Let the server have no memory left, or all that it wants."""
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
