"""The Redis store: shards, and faults of servers and URLs."""

from __future__ import annotations

import re
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from tests.delivery.rig import event
from tests.queue.processes import RedisProcesses
from tests.queue.queues import get_accounting
from tests.queue.store_contract import claim_all, put, to_numbers
from whisperr import Whisperr
from whisperr.buffers import RedisBuffer, parse_buffer_url
from whisperr.errors import NotNow, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from tests.redis_server import RedisServer

    MakeProcesses = Callable[..., RedisProcesses]

LIMIT = 30.0


@pytest.fixture
def make_processes(redis_server: RedisServer, tmp_path: Path) -> Iterator[MakeProcesses]:
    made: list[RedisProcesses] = []

    def make(**options: object) -> RedisProcesses:
        made.append(RedisProcesses(redis_server, tmp_path.name, **options))
        return made[-1]

    yield make
    for processes in made:
        processes.close_all()


def test_the_server_ends_a_lease_after_its_time(make_processes: MakeProcesses) -> None:
    processes = make_processes(lease=1)
    a, b = processes.start(), processes.start()
    put(a, 1)
    a.claim(10)
    claimed: list[int] = []
    deadline = time.monotonic() + LIMIT
    while not claimed:
        assert time.monotonic() < deadline, "the lease does not end"
        with suppress(NotNow):
            claimed = to_numbers(b.claim(10))
    assert not a.extend(5)
    assert b.ack(1) == 1


def test_what_was_stored_without_an_answer_is_not_stored_twice(
    make_processes: MakeProcesses,
) -> None:
    processes = make_processes()
    a = processes.start()
    put(a, 1, 2)
    run = processes.store._append_connection.run

    def run_without_answer(*arguments: Any) -> None:
        run(*arguments)
        processes.store._append_connection.run = run  # type: ignore[method-assign]  # of this object
        raise StoreError("no answer")

    processes.store._append_connection.run = run_without_answer  # type: ignore[method-assign,assignment]
    a.put(event(3))
    processes.pass_retry()
    a.put(event(4))
    assert to_numbers(processes.get_stored()) == [1, 2, 3, 4]
    assert not a.settled(2)
    assert claim_all(a) == [1, 2, 3, 4]
    a.poll()
    assert (a.settled(a.tail()), get_accounting(a).lost_own) == (True, 0)


def test_a_key_of_another_type_is_a_problem_and_no_error(make_processes: MakeProcesses) -> None:
    processes = make_processes()
    queue = processes.start()
    processes.client.set(processes.stream, "text")
    put(queue, 1)
    assert "WRONGTYPE" in (get_accounting(queue).problem or "")
    assert to_numbers(queue.claim(10)) == [1]
    assert queue.ack(1) == 1


def test_while_the_server_is_down_it_is_never_called_usable(
    make_processes: MakeProcesses, caplog: pytest.LogCaptureFixture
) -> None:
    processes = make_processes(timeout=0.05)
    queue = processes.start()
    counts = get_accounting(queue)
    put(queue, 1)
    assert claim_all(queue) == [1]
    processes.fail()
    try:
        put(queue, 2)
        for number in range(3, 23):
            processes.steady += 0.4
            batch: Sequence[bytes] = ()
            with suppress(NotNow):
                batch = queue.claim(10)
            queue.extend(5)
            queue.ack(len(batch))
            processes.steady += 2.0
            queue.settled(queue.tail())
            assert counts.problem is not None
            queue.poll()
            put(queue, number)
            queue.release()
            assert counts.problem is not None
        assert len(counts.reports) == 1
        assert "can be used again" not in caplog.text
        processes.steady += 60
        put(queue, 23)
        assert len(counts.reports) == 2
    finally:
        processes.mend()
    processes.pass_retry()
    put(queue, 24)
    queue.claim(10)
    assert counts.problem is None
    assert caplog.text.count("can be used again") == 1


def test_a_connection_that_the_server_has_closed_is_replaced(make_processes: MakeProcesses) -> None:
    processes = make_processes()
    queue = processes.start()
    put(queue, 1)
    processes.client.client_kill_filter(_type="normal", skipme=True)
    put(queue, 2)
    assert get_accounting(queue).problem is None
    assert to_numbers(processes.get_stored()) == [1, 2]


def test_what_a_released_batch_held_is_stored_after_newer_events(
    make_processes: MakeProcesses,
) -> None:
    processes = make_processes()
    queue = processes.start()
    processes.client.set(processes.stream, "text")
    put(queue, 1, 2)
    processes.pass_retry()
    assert to_numbers(queue.claim(1)) == [1]  # from memory
    processes.client.delete(processes.stream)
    processes.pass_retry()
    put(queue, 3)
    queue.release()
    put(queue, 4)
    assert sorted(to_numbers(processes.get_stored())) == [1, 2, 3, 4]
    assert sorted(claim_all(queue)) == [1, 2, 3, 4]


def make_event(user: int, number: int) -> bytes:
    return b'{"event_type":"e","external_user_id":"user_%d","number":%d}' % (user, number)


class TestShards:
    def test_each_user_has_one_stream_and_keeps_the_order(
        self, make_processes: MakeProcesses
    ) -> None:
        processes = make_processes(shards=4)
        queue = processes.start()
        for number in range(40):
            queue.put(make_event(number % 8, number))
        streams = [stream.keys[0] for stream in processes.store._streams]
        sizes = [processes.client.xlen(stream) for stream in streams]
        assert (sum(sizes), len(sizes)) == (40, 4)
        assert sum(size > 0 for size in sizes) > 1
        claimed: list[int] = []
        while batch := queue.claim(100):
            claimed += to_numbers(batch)
            assert queue.ack(len(batch)) == len(batch)
        assert sorted(claimed) == list(range(40))
        for user in range(8):
            assert [n for n in claimed if n % 8 == user] == list(range(user, 40, 8))
        assert queue.settled(queue.tail())

    def test_several_processes_deliver_from_several_streams_at_once(
        self, make_processes: MakeProcesses
    ) -> None:
        processes = make_processes(shards=4)
        a, b = processes.start(), processes.start()
        for number in range(40):
            a.put(make_event(number, number))
        first, second = to_numbers(a.claim(100)), to_numbers(b.claim(100))
        assert first
        assert second
        assert not set(first) & set(second)

    def test_a_position_is_settled_when_it_is_in_all_streams(
        self, make_processes: MakeProcesses
    ) -> None:
        queue = make_processes(shards=2).start()
        for user in range(6):
            queue.put(make_event(user, user))
        seen = [queue.settled(6)]
        while batch := queue.claim(100):
            queue.ack(len(batch))
            seen.append(queue.settled(6))
        assert seen == [False, False, True]


class TestURL:
    @pytest.mark.parametrize(
        ("url", "expected"),
        [
            ("redis://localhost", RedisBuffer("redis://localhost:6379/0")),
            ("REDIS://localhost?shards=2", RedisBuffer("redis://localhost:6379/0", shards=2)),
            ("RedisS://localhost", RedisBuffer("rediss://localhost:6379/0")),
            (
                "redis://localhost:7000/3?stream=churn&shards=4&timeout=0.5&lease=30",
                RedisBuffer(
                    "redis://localhost:7000/3", stream="churn", shards=4, timeout=0.5, lease=30
                ),
            ),
            ("rediss://u:p%40ss@example.com", RedisBuffer("rediss://u:p%40ss@example.com")),
        ],
    )
    def test_it_names_the_server_and_its_options(self, url: str, expected: RedisBuffer) -> None:
        made = parse_buffer_url(url)
        assert isinstance(made, RedisBuffer)
        assert made.address == expected.address
        names = ("stream", "shards", "timeout", "lease")
        assert [getattr(made, name) for name in names] == [
            getattr(expected, name) for name in names
        ]

    def test_a_password_is_not_shown(self) -> None:
        config = RedisBuffer("rediss://user:secret@example.com:7000/1")
        assert "secret" not in repr(config) + config.address
        assert config.address == "rediss://example.com:7000/1"

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
