"""Dead letters in Redis: the contract, over several streams too, bounds, full servers, damage."""

from __future__ import annotations

import json
import time
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from tests.delivery.rig import event
from tests.interrupting import interrupt_everywhere
from tests.queue.dead_letter_contract import REFUSED, DeadLetterContract, get_ids, read, refuse
from tests.queue.processes import RedisProcesses
from tests.queue.queues import ROOM, RecordingAccounting, get_accounting
from tests.queue.store_contract import claim, put, to_numbers
from tests.redis_servers import cluster, wait_until
from whisperr._cli.main import main
from whisperr._queue.dead_letters import KEPT, KEPT_FOR_OLDEST, LONGEST_AGE, Moved
from whisperr._queue.durable import LeasedQueue
from whisperr._queue.redis import dead_letters as redis_dead_letters
from whisperr._queue.redis.keys import get_key
from whisperr.buffers import parse_buffer_url
from whisperr.errors import Loss, NotNow, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path
    from typing import Any

    from tests.redis_server import RedisServer
    from tests.redis_servers import Cluster

__all__ = ["cluster"]  # a fixture


@pytest.fixture
def processes(redis_server: RedisServer, tmp_path: Path) -> Iterator[RedisProcesses]:
    made = RedisProcesses(redis_server, tmp_path.name)
    made.dead_letters = True
    yield made
    made.close_all()


def get_dead_key(processes: RedisProcesses) -> str:
    return get_key(processes.stream, "dead")


def limit_to(monkeypatch: pytest.MonkeyPatch, name: str, value: int) -> None:
    """Set a bound for the processes that start from now on."""
    monkeypatch.setattr(redis_dead_letters, name, value)


class TestContract(DeadLetterContract):
    @pytest.fixture
    def processes(self, redis_server: RedisServer, tmp_path: Path) -> Iterator[RedisProcesses]:
        made = RedisProcesses(redis_server, tmp_path.name)
        yield made
        made.close_all()


class TestBounds:
    def test_the_oldest_are_deleted_for_the_newest_and_that_is_reported(
        self, processes: RedisProcesses, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        limit_to(monkeypatch, "MOST", 3)
        a = processes.start()
        refuse(a, 1, 2, 3)
        assert a.kept == KEPT
        refuse(a, 4)
        assert a.kept == KEPT_FOR_OLDEST
        assert to_numbers([one.data for one in read(processes)]) == [4, 3, 2]

    def test_the_oldest_are_deleted_if_they_exceed_the_bytes(
        self, processes: RedisProcesses, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        limit_to(monkeypatch, "MOST_BYTES", 3 * (len(event(1)) + 41))
        a = processes.start()
        refuse(a, 1, 2, 3)
        assert (a.kept, len(read(processes))) == (KEPT, 3)
        refuse(a, 4, 5)
        assert a.kept == KEPT_FOR_OLDEST
        assert to_numbers([one.data for one in read(processes)]) == [5, 4, 3]

    def test_they_are_deleted_when_they_are_old(self, processes: RedisProcesses) -> None:
        key = get_dead_key(processes)
        old = int((time.time() - LONGEST_AGE - 60) * 1_000)
        processes.client.xadd(key, {"total": "9", "data": "x"}, id=f"{old}-0")
        recent = int((time.time() - LONGEST_AGE + 3_600) * 1_000)
        processes.client.xadd(key, {"total": "18", "data": "y"}, id=f"{recent}-0")
        a = processes.start()
        a.poll()  # also without new ones
        assert [one.data for one in read(processes)] == [b"y"]
        refuse(a, 1)
        assert [one.data for one in read(processes)] == [event(1), b"y"]
        assert 0 < processes.client.ttl(key) <= LONGEST_AGE

    def test_without_the_option_old_ones_are_left_alone(self, processes: RedisProcesses) -> None:
        processes.dead_letters = False
        processes.client.xadd(get_dead_key(processes), {"data": "x"}, id="1-0")
        processes.start().poll()
        assert len(read(processes)) == 1


class TestRoom:
    def test_on_a_full_server_an_event_ends_without_being_kept(
        self, processes: RedisProcesses
    ) -> None:
        a = processes.start()
        put(a, 1, 2)
        assert claim(a) == [1, 2]
        client = processes.client
        client.config_set("maxmemory", 1)
        try:
            assert a.ack(1, REFUSED) == 1
            assert (a.kept, to_numbers(processes.get_stored())) == ("", [2])
            assert read(processes) == []
        finally:
            client.config_set("maxmemory", 0)
        assert a.ack(1, REFUSED) == 1
        assert (a.kept, len(read(processes))) == (KEPT, 1)

    def test_a_full_server_refuses_a_replay_and_changes_nothing(
        self, processes: RedisProcesses
    ) -> None:
        refuse(processes.start(), 1)
        processes.client.config_set("maxmemory", 1)
        try:
            with (
                closing(processes.open_dead_letters()) as found,
                pytest.raises(StoreError, match="full"),
            ):
                found.replay(get_ids([*found.read()]), 100, 10_000)
        finally:
            processes.client.config_set("maxmemory", 0)
        assert (len(read(processes)), processes.get_stored()) == (1, [])

    def test_a_key_of_another_type_does_not_keep_an_event_from_ending(
        self, processes: RedisProcesses
    ) -> None:
        processes.client.set(get_dead_key(processes), "something else")
        a = processes.start()
        refuse(a, 1)
        assert (a.kept, processes.get_stored()) == ("", [])
        assert processes.client.get(get_dead_key(processes)) == b"something else"
        with pytest.raises(StoreError, match="WRONGTYPE"):
            read(processes)

    @pytest.mark.parametrize(
        "fields",
        [
            {"x": "y"},
            {"total": "no number", "data": "x"},
            {"total": "-5", "data": "x"},
            {"total": "9" * 300, "data": "x"},
            {"data": "x"},
        ],
    )
    def test_entries_of_other_clients_do_not_keep_an_event_from_ending(
        self, processes: RedisProcesses, fields: dict[str, str]
    ) -> None:
        a = processes.start()
        refuse(a, 1)
        processes.client.xadd(get_dead_key(processes), fields)
        refuse(a, 2)
        assert processes.get_stored() == []
        assert read(processes)[0].data == event(2)
        with closing(processes.open_dead_letters()) as found:
            every = [*found.read()]
            assert found.drop(get_ids(every)) == len(every)

    def test_a_last_id_that_leaves_no_room_keeps_no_event_from_ending(
        self, processes: RedisProcesses
    ) -> None:
        last = 2**64 - 1
        processes.client.xadd(get_dead_key(processes), {"data": "x"}, id=f"{last}-{last}")
        a = processes.start()
        refuse(a, 1)
        assert (a.kept, processes.get_stored()) == ("", [])


def test_over_several_streams_each_has_its_own_and_all_are_shown(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    processes = RedisProcesses(redis_server, tmp_path.name, shards=3)
    processes.dead_letters = True
    a = processes.start(max_events=1_000)
    users = [f"user_{number}" for number in range(30)]
    for user in users:
        assert list(a.put(event(1).replace(b'"u"', f'"{user}"'.encode()))) == []
    while batch := a.claim(1):
        a.ack(1, Loss(1, "rejected", "why", 400))
    with closing(processes.open_dead_letters()) as found:
        every = [*found.read()]
        assert len(every) == 30
        times = [one.refused_at or 0.0 for one in every]
        assert times == sorted(times, reverse=True)
        ids = get_ids(every)
        assert {one.partition("@")[2] for one in ids} == {"0", "1", "2"}
        assert get_ids(found.find([*reversed(ids)])) == [*reversed(ids)]
        assert list(found.find([ids[0].partition("@")[0], f"{ids[0]}9"])) == []
        assert found.drop(ids[:3]) == 3
        assert found.replay(ids[3:], 300, 1_000_000) == Moved(27, 0)
        assert list(found.read()) == []
    a.poll()
    assert len(a) == 27
    replayed = 0
    while batch := a.claim(10):
        replayed += a.ack(len(batch))
    assert (replayed, get_accounting(a).lost_own) == (27, 0)
    processes.close_all()


def claim_now(queue: LeasedQueue, max_events: int) -> Sequence[bytes]:
    """Return what can be claimed; nothing while what was put is not stored yet."""
    queue.poll()
    try:
        return queue.claim(max_events)
    except NotNow:
        return ()


def test_in_a_cluster_they_are_kept_shown_and_replayed_by_the_command(
    cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    url = cluster.url("refused", shards=4, dead_letters=True)
    queue = parse_buffer_url(url).open(ROOM, ROOM, RecordingAccounting())
    assert isinstance(queue, LeasedQueue)
    for number in range(12):
        queue.put(event(number).replace(b'"u"', b'"user_%d"' % number))
    refused: list[bytes] = []

    def is_refused() -> bool:
        for data in claim_now(queue, 1):
            assert queue.ack(1, REFUSED) == 1
            refused.append(data)
        return len(refused) == 12

    wait_until(is_refused, "not all are claimed")
    assert queue.kept == KEPT
    assert main(["dead-letters", "list", "--json", "--buffer", url]) == 0
    assert json.loads(capsys.readouterr().out)["total"] == 12
    assert main(["dead-letters", "replay", "--user", "user_7", "--buffer", url]) == 0
    assert main(["dead-letters", "drop", "--all", "--buffer", url]) == 0
    assert "deleted 11 dead letters" in capsys.readouterr().out
    (data,) = claim_now(queue, 10)
    assert b'"user_7"' in data
    assert queue.ack(1) == 1
    queue.drain()


def test_an_interrupted_ack_keeps_an_event_once(redis_server: RedisServer, tmp_path: Path) -> None:
    stories = 0

    def story(interrupt: Callable[[Callable[[], object]], Any]) -> None:
        nonlocal stories
        stories += 1
        processes = RedisProcesses(redis_server, f"{tmp_path.name}-{stories}")
        processes.dead_letters = True
        a = processes.start()
        put(a, 1)
        claim(a)
        interrupt(lambda: a.ack(1, REFUSED))
        a.release()
        processes.pass_retry()
        while a.claim(10):
            a.ack(1, REFUSED)
        assert [one.data for one in read(processes)] == [event(1)]
        assert processes.get_stored() == []
        processes.close_all()

    assert interrupt_everywhere(story, every=2) > 10
