"""Step 3, in Redis: what processes that share streams see of each other, and what can go wrong."""

from __future__ import annotations

import re
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from tests.delivery.rig import event, identify, number_of
from tests.queue.places import Heard, stored_in
from whisperr import Whisperr
from whisperr._queue.durable import RETRY, LeasedQueue
from whisperr._queue.memory import Foreign
from whisperr._queue.redis import RedisStore
from whisperr.buffers import RedisBuffer, parse_buffer_url
from whisperr.errors import NotNow
from whisperr.testing import FakeClock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.redis_server import RedisServer

LIMIT = 30.0


class Fleet:
    """Buffers on the same streams, as several processes have them."""

    def __init__(self, redis: RedisServer, name: str) -> None:
        self.redis = redis
        self.name = name
        self.clock = FakeClock()
        self._made: list[LeasedQueue] = []

    def start(self, max_events: int = 100, **options: object) -> LeasedQueue:
        place = parse_buffer_url(self.redis.url(self.name, **{"timeout": 5, **options}))
        one = place.open(max_events, 1_000_000)
        assert isinstance(one, LeasedQueue)
        one._clock = self.clock
        one.attach(Heard())
        self._made.append(one)
        return one

    def end(self) -> None:
        for one in self._made:
            one.drain()


@pytest.fixture
def fleet(redis_server: RedisServer, tmp_path: Path) -> Iterator[Fleet]:
    made = Fleet(redis_server, tmp_path.name)
    yield made
    made.end()


def put(one: LeasedQueue, *numbers: int) -> None:
    for number in numbers:
        assert list(one.put(event(number))) == []


def numbers(events: object) -> list[int]:
    assert isinstance(events, (list, tuple))
    return [number_of(data) for data in events]


def heard_by(one: LeasedQueue) -> Heard:
    heard = one._listener
    assert isinstance(heard, Heard)
    return heard


def may_not_take(one: LeasedQueue) -> None:
    with pytest.raises(NotNow) as caught:
        one.claim(10)
    assert 0 < caught.value.seconds <= 0.5
    assert caught.value.problem is None


def taken_at_last(one: LeasedQueue) -> list[int]:
    """Ask again until another one's lease has run out."""
    deadline = time.monotonic() + LIMIT
    taken: list[int] = []
    while not taken:
        assert time.monotonic() < deadline, "the lease does not end"
        with suppress(NotNow):
            taken = numbers(one.claim(10))
    return taken


class TestTwoProcesses:
    def test_what_both_put_is_one_line(self, fleet: Fleet) -> None:
        a, b = fleet.start(), fleet.start()
        put(a, 1)
        put(b, 2)
        put(a, 3)
        b.poll()
        assert numbers(stored_in(a)) == [1, 2, 3]
        assert (len(b), b.stored) == (3, 3)
        assert [type(data) for data in a.claim(10)] == [bytes, Foreign, bytes]

    def test_only_one_at_a_time_delivers(self, fleet: Fleet) -> None:
        a, b = fleet.start(), fleet.start()
        put(a, 1, 2)
        assert numbers(a.claim(1)) == [1]
        may_not_take(b)
        put(b, 3)
        assert a.ack(1) == 1
        assert numbers(b.claim(10)) == [2, 3]
        may_not_take(a)

    def test_a_lease_that_ran_out_goes_to_another(self, fleet: Fleet) -> None:
        a, b = fleet.start(lease=1), fleet.start(lease=1)
        put(a, 1)
        a.claim(10)
        may_not_take(b)
        assert taken_at_last(b) == [1]
        assert not a.extend(5)
        assert a.ack(1) == 0
        assert b.ack(1) == 1

    def test_a_lease_that_ran_out_unnoticed_is_still_owned(self, fleet: Fleet) -> None:
        a = fleet.start()
        put(a, 1)
        a.claim(10)
        store = a._store
        assert isinstance(store, RedisStore)
        assert store._link.call("DEL", f"{fleet.name}:lease") == 1
        assert a.extend(5)
        assert a.ack(1) == 1
        assert (len(a), a.held_bytes, stored_in(a)) == (0, 0, [])

    def test_a_long_request_prolongs_the_lease(self, fleet: Fleet) -> None:
        a = fleet.start(lease=1)
        put(a, 1)
        a.claim(10)
        assert a.extend(60)
        store = a._store
        assert isinstance(store, RedisStore)
        assert 59_000 < store._link.call("PTTL", f"{fleet.name}:lease") <= 60_334

    def test_what_is_put_back_is_free_for_others_as_the_same_batch(self, fleet: Fleet) -> None:
        a, b = fleet.start(), fleet.start()
        put(a, 1, 2)
        a.claim(10)
        put(a, 3)
        a.release()
        assert numbers(b.claim(10)) == [1, 2]
        assert b.ack(2) == 2
        assert numbers(b.claim(10)) == [3]

    def test_the_process_that_put_an_event_learns_how_it_ended(self, fleet: Fleet) -> None:
        a, b = fleet.start(), fleet.start()
        put(a, 1, 2, 3)
        b.claim(10)
        b.ack(3, 1, "refused_in_batch")
        for _ in range(2):
            a.poll()
            assert heard_by(a).endings == {"refused_in_batch": 1, "delivered": 2}
        assert a.settled(a.tail())
        put(a, 4)
        b.claim(10)
        b.ack(1)
        a.poll()
        assert heard_by(a).endings == {"refused_in_batch": 1, "delivered": 3}

    def test_what_has_no_room_is_told_to_its_process_too(self, fleet: Fleet) -> None:
        a, b = fleet.start(), fleet.start(max_events=2)
        put(a, 1, 2)
        assert [(type(data), number_of(data)) for data in b.put(event(3))] == [(Foreign, 1)]
        a.poll()
        assert heard_by(a).endings == {"queue_full": 1}

    def test_what_is_too_old_is_dropped_when_it_is_taken(self, fleet: Fleet) -> None:
        old = event(1)[:-1] + b',"occurred_at":"2020-01-01T00:00:00.000Z"}'
        a, b = fleet.start(), fleet.start()
        a.put(old)
        put(a, 2)
        a.put(identify(3))
        assert numbers(b.claim(10)) == [2]
        assert heard_by(b).losses == [("expired", [old])]
        a.poll()
        assert heard_by(a).endings == {"expired": 1}
        assert b.ack(1) == 1
        assert numbers(b.claim(10)) == [3]

    def test_when_all_are_too_old_the_stream_is_free_again(self, fleet: Fleet) -> None:
        a, b = fleet.start(), fleet.start()
        a.put(event(1)[:-1] + b',"occurred_at":"2020-01-01T00:00:00.000Z"}')
        assert list(a.claim(10)) == []
        put(b, 2)
        assert numbers(b.claim(10)) == [2]

    def test_what_was_stored_without_saying_so_is_not_stored_twice(self, fleet: Fleet) -> None:
        a = fleet.start()
        put(a, 1, 2)
        a._store.append([event(2), event(3)], 1)
        assert numbers(stored_in(a)) == [1, 2, 3]
        assert not a.settled(2)


def of_user(user: int, number: int) -> bytes:
    return b'{"event_type":"e","external_user_id":"user_%d","number":%d}' % (user, number)


class TestShards:
    def test_each_user_has_one_stream_and_keeps_the_order(self, fleet: Fleet) -> None:
        one = fleet.start(shards=4)
        for number in range(40):
            one.put(of_user(number % 8, number))
        store = one._store
        assert isinstance(store, RedisStore)
        sizes = [store._link.call("XLEN", stream.keys[0]) for stream in store._streams]
        assert (sum(sizes), len(sizes)) == (40, 4)
        assert sum(size > 0 for size in sizes) > 1
        taken: list[int] = []
        while batch := one.claim(100):
            taken += numbers(batch)
            assert one.ack(len(batch)) == len(batch)
        assert sorted(taken) == list(range(40))
        for user in range(8):
            assert [n for n in taken if n % 8 == user] == list(range(user, 40, 8))
        assert one.settled(one.tail())

    def test_several_processes_deliver_from_several_streams_at_once(self, fleet: Fleet) -> None:
        a, b = fleet.start(shards=4), fleet.start(shards=4)
        for number in range(40):
            a.put(of_user(number, number))
        first, second = numbers(a.claim(100)), numbers(b.claim(100))
        assert first
        assert second
        assert not set(first) & set(second)

    def test_a_mark_waits_for_all_streams(self, fleet: Fleet) -> None:
        a = fleet.start(shards=2)
        users = [0, 1, 2, 3, 4, 5]
        for user in users:
            a.put(of_user(user, user))
        seen = [a.settled(6)]
        while batch := a.claim(100):
            a.ack(len(batch))
            seen.append(a.settled(6))
        assert seen == [False, False, True]


class TestAway:
    def test_while_redis_is_away_events_wait_in_memory(
        self, fleet: Fleet, redis_server: RedisServer
    ) -> None:
        one = fleet.start()
        put(one, 1)
        redis_server.stop()
        try:
            put(one, 2, 3)
            assert "redis://127.0.0.1" in (one.problem or "")
            assert len(one) == 3
            assert len(heard_by(one).problems) == 1
        finally:
            redis_server.start()
        fleet.clock.now += RETRY
        put(one, 4)
        assert numbers(stored_in(one)) == [1, 2, 3, 4]
        assert one.problem is None
        assert numbers(one.claim(10)) == [1, 2, 3, 4]

    def test_a_key_of_another_type_is_a_problem_and_no_error(self, fleet: Fleet) -> None:
        one = fleet.start()
        store = one._store
        assert isinstance(store, RedisStore)
        store._link.call("SET", fleet.name, "text")
        put(one, 1)
        assert "WRONGTYPE" in (one.problem or "")
        assert numbers(one.claim(10)) == [1]
        assert one.ack(1) == 1


class TestURL:
    @pytest.mark.parametrize(
        ("url", "place"),
        [
            ("redis://localhost", RedisBuffer("redis://localhost:6379/0")),
            (
                "redis://localhost:7000/3?stream=churn&shards=4&timeout=0.5&lease=30",
                RedisBuffer(
                    "redis://localhost:7000/3", stream="churn", shards=4, timeout=0.5, lease=30
                ),
            ),
            ("rediss://u:p%40ss@example.com", RedisBuffer("rediss://u:p%40ss@example.com")),
        ],
    )
    def test_it_names_the_server_and_its_options(self, url: str, place: RedisBuffer) -> None:
        made = parse_buffer_url(url)
        assert isinstance(made, RedisBuffer)
        assert made.place == place.place
        names = ("stream", "shards", "timeout", "lease")
        assert [getattr(made, name) for name in names] == [getattr(place, name) for name in names]

    def test_a_password_is_not_shown(self) -> None:
        place = RedisBuffer("rediss://user:secret@example.com:7000/1")
        assert "secret" not in repr(place) + place.place
        assert place.place == "rediss://example.com:7000/1"

    @pytest.mark.parametrize(
        ("url", "fix"),
        [
            ("redis://", "redis://[user:password@]host"),
            ("redis://host:port", "redis://[user:password@]host"),
            ("redis://host/name", "redis://[user:password@]host"),
            ("redis://:secret@host:99999", "redis://[user:password@]host"),
            ("redis://host?shards=0", "whole number from 1 to 64"),
            ("redis://host?shards=1.5", "whole number from 1 to 64"),
            ("redis://host?shards=100", "whole number from 1 to 64"),
            ("redis://host?shards=many", "whole number from 1 to 64"),
            ("redis://host?stream=", "letters, digits"),
            ("redis://host?stream=a b", "letters, digits"),
            ("redis://host?timeout=60", "from 0.01 to 10 seconds"),
            ("redis://host?lease=0", "from 1 to 3600 seconds"),
            ("redis://host?db=1", "unknown option 'db'"),
        ],
    )
    def test_a_wrong_one_is_refused_with_the_fix(self, url: str, fix: str) -> None:
        with pytest.raises(ValueError, match=re.escape(fix)) as caught:
            Whisperr("wrk_test", buffer=url)
        assert "secret" not in str(caught.value)
