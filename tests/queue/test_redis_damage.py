"""Redis keys that another client changed: no call fails, and every event is accounted for."""

from __future__ import annotations

import time
from threading import Event
from typing import TYPE_CHECKING

import pytest

from tests.delivery.rig import event
from tests.queue.processes import RedisProcesses
from tests.queue.queues import get_accounting
from tests.queue.store_contract import claim, claim_all, put, to_numbers
from whisperr import Whisperr
from whisperr._queue.memory import EVENT_OVERHEAD_BYTES
from whisperr._queue.redis import keys as redis_keys
from whisperr.testing import MemoryTransport

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from redis import Redis

    from tests.redis_server import RedisServer

SIZE = len(event(1)) + EVENT_OVERHEAD_BYTES


@pytest.fixture
def processes(redis_server: RedisServer, tmp_path: Path) -> Iterator[RedisProcesses]:
    made = RedisProcesses(redis_server, tmp_path.name)
    yield made
    made.close_all()


def get_key(processes: RedisProcesses, what: str) -> str:
    """Return the name of a key of the first process, or of the stream without `what`."""
    if what == "stream":
        return processes.stream
    suffix = f":{processes.store._me.decode()}" if what == "last" else ""
    return redis_keys.get_key(processes.stream, what + suffix)


def get_endings(processes: RedisProcesses) -> list[str]:
    """Return the keys in which outcomes are counted: one of them for this week."""
    return [redis_keys.get_key(processes.stream, f"endings:{number}") for number in range(2)]


def set_field(field: str, value: str) -> Callable[[Redis, str], object]:
    return lambda client, key: client.hset(key, field, value)


class TestState:
    @pytest.mark.parametrize(
        "damage",
        [
            *(
                pytest.param(set_field(field, value), id=f"{field}={value}")
                for field in ("rows", "bytes", "owner", "taken_to", "taken_rows", "taken_bytes")
                for value in ("abc", "-5", "", "99999999999999999999-0")
            ),
            pytest.param(set_field("front_to", "abc"), id="front_to"),
            pytest.param(set_field("newest", "abc"), id="newest"),
            pytest.param(set_field("check", "abc"), id="check"),
            pytest.param(lambda client, key: client.hdel(key, "bytes"), id="a field is gone"),
            pytest.param(lambda client, key: client.delete(key), id="gone"),
        ],
    )
    def test_damaged_sums_are_counted_again(
        self, processes: RedisProcesses, damage: Callable[[Redis, str], object]
    ) -> None:
        a = processes.start()
        put(a, 1, 2)
        damage(processes.client, get_key(processes, "state"))
        put(a, 3)
        assert (len(a), a.held_bytes) == (3, 3 * SIZE)
        assert get_accounting(a).problem is None
        damage(processes.client, get_key(processes, "state"))
        assert claim(a, 2) == [1, 2]
        damage(processes.client, get_key(processes, "state"))
        assert a.extend(10)
        assert a.ack(2) == 2
        damage(processes.client, get_key(processes, "state"))
        assert claim_all(a) == [3]
        assert (len(a), a.held_bytes) == (0, 0)
        assert a.settled(a.tail())
        assert get_accounting(a).losses == []
        assert (get_accounting(a).lost_own, get_accounting(a).problem) == (0, None)

    def test_a_claimed_batch_stays_claimed_when_its_owner_is_forgotten(
        self, processes: RedisProcesses
    ) -> None:
        a, b = processes.start(), processes.start()
        put(a, 1)
        assert claim(a) == [1]
        processes.client.delete(get_key(processes, "state"))
        b.poll()
        assert a.ack(1) == 1
        assert claim_all(b) == []


class TestTypes:
    @pytest.mark.parametrize("what", ["stream", "state", "lease", "last"])
    def test_a_key_of_another_type_is_named_and_left_alone(
        self, processes: RedisProcesses, what: str
    ) -> None:
        a = processes.start()
        key = get_key(processes, what)
        processes.client.delete(key)
        processes.client.lpush(key, "not ours")
        put(a, 1)
        problem = get_accounting(a).problem or ""
        assert "WRONGTYPE" in problem
        assert f"{key} holds a list" in problem
        assert to_numbers(a.claim(10)) == [1]  # from memory
        assert a.ack(1) == 1
        assert processes.client.lrange(key, 0, -1) == [b"not ours"]
        processes.client.delete(key)
        processes.pass_retry()
        put(a, 2)
        assert get_accounting(a).problem is None
        assert claim_all(a) == [2]

    @pytest.mark.parametrize("what", ["endings:0", "endings:1", "rejected"])
    def test_keys_beside_it_of_another_type_stop_nothing(
        self, processes: RedisProcesses, what: str
    ) -> None:
        a, b = processes.start(), processes.start()
        key = get_key(processes, what)
        processes.client.set(key, "not ours")
        put(a, 1)
        processes.client.xadd(processes.stream, {"foo": "bar"})
        put(a, 2)
        assert claim_all(b) == [1, 2]
        a.poll()
        assert a.settled(a.tail())
        assert get_accounting(a).problem is get_accounting(b).problem is None
        assert (processes.client.get(key), processes.client.ttl(key)) == (b"not ours", -1)


class TestLease:
    def test_a_lease_without_an_end_ends(self, processes: RedisProcesses) -> None:
        a = processes.start()
        put(a, 1)
        key = get_key(processes, "lease")
        for damage in ({}, {"px": 10**12}):
            processes.client.set(key, "another", **damage)
            with pytest.raises(Exception, match="another process"):
                a.claim(10)
            assert 0 < processes.client.pttl(key) <= 15_000
        processes.client.delete(key)
        assert claim_all(a) == [1]


def to_fields(processes: RedisProcesses, outcomes: dict[str, str]) -> dict[str, str]:
    source = processes.store._me.decode()
    return {f"{source}:{outcome}": count for outcome, count in outcomes.items()}


class TestNumbers:
    @pytest.mark.parametrize("number", ["999999", "abc", "-1", ""])
    def test_a_damaged_number_loses_no_event(self, processes: RedisProcesses, number: str) -> None:
        a = processes.start()
        put(a, 1)
        processes.client.hset(get_key(processes, "last"), "last", number)
        put(a, 2)
        processes.client.delete(get_key(processes, "last"))
        put(a, 3)
        assert claim_all(a) == [1, 2, 3]

    @pytest.mark.parametrize("outcomes", [{"delivered": "many"}, {"delivered": "-1"}])
    def test_damaged_outcomes_are_no_outcomes(
        self, processes: RedisProcesses, outcomes: dict[str, str]
    ) -> None:
        a, b = processes.start(), processes.start()
        for key in get_endings(processes):
            processes.client.hset(key, mapping=to_fields(processes, outcomes))
        put(a, 1)
        assert claim(b) == [1]
        a.poll()
        assert get_accounting(a).settled == {}
        assert b.ack(1) == 1
        a.poll()
        counts = get_accounting(a)
        assert counts.settled.get("delivered", 0) + counts.lost_own == 1

    def test_outcomes_are_kept_for_a_week_at_least_and_not_for_ever(
        self, processes: RedisProcesses
    ) -> None:
        a, b = processes.start(), processes.start()
        put(a, 1)
        assert claim_all(b) == [1]
        left = [processes.client.ttl(key) for key in get_endings(processes)]
        week = 7 * 86_400
        assert min(left) == -2
        assert week < max(left) <= 2 * week

    def test_too_many_outcomes_count_no_event_twice(self, processes: RedisProcesses) -> None:
        a = processes.start()
        put(a, 1, 2)
        for key in get_endings(processes):
            processes.client.hset(key, mapping=to_fields(processes, {"delivered": "500"}))
        a.poll()
        assert get_accounting(a).settled == {}
        assert claim_all(a) == [1, 2]
        a.poll()
        assert get_accounting(a).settled == {}


class TestForeignEntries:
    def test_they_are_set_aside_and_stop_nothing(self, processes: RedisProcesses) -> None:
        a = processes.start()
        processes.client.xadd(processes.stream, {"foo": "bar"})
        put(a, 1)
        processes.client.xadd(processes.stream, {"1:x": "{}"})
        many = {str(number): "value" for number in range(9_000)}
        processes.client.xadd(processes.stream, {"long": "v" * 5_000, **many})
        put(a, 2)
        assert claim_all(a) == [1, 2]
        assert get_accounting(a).lost_others == 3
        assert (len(a), a.held_bytes) == (0, 0)
        kept = processes.client.xrange(get_key(processes, "rejected"))
        assert kept[0][1][b"reason"] == b"not added by this buffer"
        assert kept[0][1][b"foo"] == b"bar"
        assert len(kept) == 3
        assert len(kept[2][1][b"long"]) == 1024
        assert len(kept[2][1]) < 20

    def test_very_many_are_set_aside_little_by_little(self, processes: RedisProcesses) -> None:
        a = processes.start()
        pipe = processes.client.pipeline()
        for _ in range(3_000):
            pipe.xadd(processes.stream, {"foo": "bar"})
        pipe.execute()
        put(a, 1)
        assert claim_all(a) == [1]
        assert get_accounting(a).lost_others == 3_000
        assert processes.client.xlen(get_key(processes, "rejected")) == 100

    @pytest.mark.parametrize("data", [b"", b"text", b'{"event_type":"cut', b"\xff\xfe", b"[1]"])
    def test_damaged_events_are_set_aside(self, processes: RedisProcesses, data: bytes) -> None:
        a = processes.start()
        fields = {processes.store._me + b":77": data}
        processes.client.xadd(processes.stream, fields)
        put(a, 1)
        assert claim_all(a) == [1]
        assert get_accounting(a).lost_others == 1
        assert processes.client.xlen(get_key(processes, "rejected")) == 1

    def test_for_room_they_are_dropped_without_a_count(self, processes: RedisProcesses) -> None:
        a = processes.start(max_events=2)
        processes.client.xadd(processes.stream, {"foo": "bar"})
        put(a, 1, 2)
        assert list(a.put(event(3))) == [event(1)]
        assert claim_all(a) == [2, 3]
        assert get_accounting(a).lost_others == 1


class TestSums:
    @pytest.mark.parametrize("how", ["deleted", "trimmed", "trimmed and added to"])
    def test_they_heal_when_entries_vanish(self, processes: RedisProcesses, how: str) -> None:
        a = processes.start(max_bytes=4 * SIZE)
        put(a, 1, 2, 3, 4)
        if how == "deleted":
            processes.client.delete(processes.stream)
        else:
            processes.client.xtrim(processes.stream, maxlen=0)
        if how == "trimmed and added to":
            for _ in range(4):
                processes.client.xadd(processes.stream, {"foo": "bar"})
            assert a.claim(10) == ()
        a.poll()
        put(a, 5, 6, 7, 8)  # and drops nothing: there is room for four
        assert a.held_bytes == 4 * SIZE
        assert claim_all(a) == [5, 6, 7, 8]

    def test_they_heal_while_a_batch_is_claimed(self, processes: RedisProcesses) -> None:
        a = processes.start()
        put(a, 1, 2, 3)
        assert claim(a, 2) == [1, 2]
        processes.client.delete(processes.stream)
        put(a, 4)
        assert (len(a), a.held_bytes) == (1, SIZE)
        assert a.ack(2) == 2
        assert claim_all(a) == [4]
        assert (len(a), a.held_bytes) == (0, 0)

    def test_entries_of_others_are_counted(self, processes: RedisProcesses) -> None:
        a = processes.start()
        put(a, 1)
        processes.client.xadd(processes.stream, {"foo": "bar"})
        put(a, 2)
        assert (len(a), a.held_bytes) == (3, 2 * SIZE + 6 + EVENT_OVERHEAD_BYTES)


def delete_all(processes: RedisProcesses) -> None:
    for key in processes.client.scan_iter(f"*{processes.stream}*"):
        processes.client.delete(key)


class TestVanishedEvents:
    @pytest.mark.parametrize("how", ["stream", "everything"])
    def test_they_are_losses_once(self, processes: RedisProcesses, how: str) -> None:
        a = processes.start()
        put(a, 1, 2, 3)
        if how == "stream":
            processes.client.delete(processes.stream)
        else:
            delete_all(processes)
        put(a, 4)
        for _ in range(2):
            a.poll()
            assert get_accounting(a).lost_own == 3
            assert len(get_accounting(a).loss_messages) == 1
        assert not a.settled(a.tail())
        assert claim_all(a) == [4]
        a.poll()
        assert a.settled(a.tail())
        assert get_accounting(a).lost_own == 3

    def test_each_process_reports_its_own(self, processes: RedisProcesses) -> None:
        a, b = processes.start(), processes.start()
        put(a, 1)
        put(b, 2, 3)
        delete_all(processes)
        a.poll()
        b.poll()
        assert [get_accounting(queue).lost_own for queue in (a, b)] == [1, 2]

    def test_what_another_process_delivered_is_no_loss(self, processes: RedisProcesses) -> None:
        a, b = processes.start(), processes.start()
        put(a, 1, 2, 3)
        assert claim(b, 2) == [1, 2]
        assert b.ack(2) == 2
        delete_all_but_endings = [processes.stream, get_key(processes, "state")]
        processes.client.delete(*delete_all_but_endings)
        a.poll()
        assert (get_accounting(a).settled, get_accounting(a).lost_own) == ({"delivered": 2}, 1)

    def test_a_batch_in_flight_is_no_loss(self, processes: RedisProcesses) -> None:
        a = processes.start()
        put(a, 1, 2, 3)
        assert claim(a, 2) == [1, 2]
        delete_all(processes)
        a.poll()
        assert get_accounting(a).lost_own == 1
        assert a.extend(10)
        assert a.ack(2) == 2
        a.poll()
        assert get_accounting(a).lost_own == 1
        assert a.settled(a.tail())

    def test_single_ones_are_found_when_their_turn_comes(self, processes: RedisProcesses) -> None:
        a = processes.start()
        put(a, 1, 2, 3)
        second = processes.client.xrange(processes.stream)[1][0]
        processes.client.xdel(processes.stream, second)
        assert claim_all(a) == [1, 3]
        a.poll()
        assert get_accounting(a).lost_own == 1
        assert a.settled(a.tail())

    def test_with_ids_that_are_given_again_none_is_forgotten(
        self, processes: RedisProcesses
    ) -> None:
        a = processes.start()
        future = "99999999999999-1"  # so that all later ids follow it
        processes.client.xadd(processes.stream, {"foo": "bar"}, id=future)
        put(a, 1, 2)
        ids = [id_ for id_, _ in processes.client.xrange(processes.stream)]
        processes.client.delete(processes.stream)
        processes.client.xadd(processes.stream, {"foo": "bar"}, id=future)
        put(a, 3)
        assert [id_ for id_, _ in processes.client.xrange(processes.stream)] == ids[:2]
        a.poll()
        assert get_accounting(a).lost_own == 2
        assert claim_all(a) == [3]
        a.poll()
        assert get_accounting(a).lost_own == 2

    def test_a_flush_reports_them(
        self, processes: RedisProcesses, redis_server: RedisServer
    ) -> None:
        errors: list[str | None] = []
        transport = MemoryTransport()
        client = Whisperr(
            "wrk_test",
            buffer=redis_server.url(processes.stream, timeout=5),
            transport=transport,
            on_error=lambda error: errors.append(error.reason),
            flush_at=1_000,
            flush_interval=1_000,
        )
        for number in range(3):
            client.track("u", "e", {"n": number})
        deadline = time.monotonic() + 30
        while client.stats().unstored:  # the storer moves them
            assert time.monotonic() < deadline
            Event().wait(0.002)
        delete_all(processes)
        client.track("u", "e", {"n": 3})
        assert client.flush(30)
        stats = client.stats()
        assert (stats.delivered, dict(stats.dropped), stats.held) == (1, {"lost_in_store": 3}, 0)
        assert "lost_in_store" in errors
        assert client.shutdown(30)
