"""Events are added to Redis while others are delivered: neither waits, and each is counted once."""

from __future__ import annotations

import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from tests.delivery.rig import event, get_number
from whisperr._queue.memory import Foreign
from whisperr._queue.redis.connection import RedisConnection
from whisperr._queue.redis.keys import get_key
from whisperr._queue.redis.store import RedisStore
from whisperr._queue.redis.url import parse_server
from whisperr._queue.store import LOST_IN_STORE
from whisperr._secret import Secret
from whisperr.errors import NotNow, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from tests.redis_server import RedisServer

LIMIT = 30.0
ROOM = 1_000_000
SOURCE = 77


class Between:
    """A connection that lets a test act when the server has answered, before the store knows it.

    `before`: acts when the script has not been sent yet. Each is called once.
    """

    def __init__(self, connection: RedisConnection) -> None:
        self._connection = connection
        self.before: Callable[[], object] | None = None
        self.after: Callable[[], object] | None = None

    def run(self, *arguments: Any) -> Any:
        before, self.before = self.before, None
        if before is not None:
            before()
        answer = self._connection.run(*arguments)
        after, self.after = self.after, None
        if after is not None:
            after()
        return answer

    def ask(self, *words: object) -> Any:
        return self._connection.ask(*words)

    def make_another(self) -> Between:
        return Between(self._connection.make_another())

    def close(self) -> None:
        self._connection.close()


class Scene:
    """Stores of several processes over one stream."""

    def __init__(self, server: RedisServer, stream: str) -> None:
        self.stream = stream
        self.client = server.connect()
        self._url = server.url(stream).partition("?")[0]
        self.made: list[RedisStore] = []

    def start(
        self, max_events: int = ROOM, *, shards: int = 1, source: int | None = None
    ) -> RedisStore:
        server = parse_server(Secret(self._url))
        assert server is not None
        names = [self.stream] if shards == 1 else [f"{self.stream}:{at}" for at in range(shards)]
        connection = Between(RedisConnection(server, 5.0))
        self.made.append(
            RedisStore(connection, names, 15.0, max_events, 1_000 * ROOM, source=source)
        )
        return self.made[-1]

    def get_stored(self) -> list[int]:
        entries = self.client.xrange(self.stream)
        return [get_number(data) for _, fields in entries for data in fields.values()]


@pytest.fixture
def scene(redis_server: RedisServer, tmp_path: Path) -> Iterator[Scene]:
    made = Scene(redis_server, tmp_path.name)
    yield made
    for store in made.made:
        store.close()


def get_appending(store: RedisStore) -> Between:
    connection = store._append_connection
    assert isinstance(connection, Between)
    return connection


def get_delivering(store: RedisStore) -> Between:
    connection = store._connection
    assert isinstance(connection, Between)
    return connection


def make(*numbers: int) -> list[bytes]:
    return [event(number) for number in numbers]


def lose_answer(store: RedisStore, then: Callable[[], object] = lambda: None) -> None:
    """Lose the answer of the next append, which reaches the server."""

    def fail() -> None:
        then()
        raise StoreError("no answer")

    get_appending(store).after = fail


def deliver(store: RedisStore, count: int = 500) -> list[tuple[int, bool]]:
    """Claim and acknowledge a batch; return its numbers, and whether they are own."""
    batch, _ = store.claim(count)
    assert store.ack(len(batch), None) == len(batch)
    return [(get_number(data), type(data) is not Foreign) for data in batch]


def test_a_claim_does_not_wait_for_an_append_nor_the_reverse(scene: Scene) -> None:
    store = scene.start()
    store.append(make(0), 0)
    done: list[object] = []
    get_appending(store).before = lambda: done.append(deliver(store))
    store.append(make(1), 1)
    get_delivering(store).before = lambda: done.append(store.append(make(2), 2))
    assert deliver(store) == [(1, True), (2, True)]
    assert done == [[(0, True)], []]


class TestBeforeTheAnswer:
    """The server has the events, but the thread that appends has no answer yet."""

    @pytest.mark.parametrize("shards", [1, 3])
    def test_they_are_own_and_end_once(self, scene: Scene, shards: int) -> None:
        store = scene.start(shards=shards)
        delivered: list[tuple[int, bool]] = []

        def deliver_all() -> None:
            while batch := deliver(store):
                delivered.extend(batch)

        get_appending(store).after = deliver_all
        store.append(make(0, 1), 0)
        assert delivered == [(0, True), (1, True)]
        assert store.settled(2)
        assert store.poll() == {}
        assert (store.waiting, store.appended_to) == (0, 2)

    def test_what_is_claimed_then_is_acknowledged_later(self, scene: Scene) -> None:
        store = scene.start()
        claimed: list[Sequence[bytes]] = []
        get_appending(store).after = lambda: claimed.append(store.claim(500)[0])
        store.append(make(0, 1), 0)
        assert [type(data) for data in claimed[0]] == [bytes, bytes]
        assert not store.settled(1)
        assert store.ack(1, None) == 1
        assert (store.settled(1), store.settled(2)) == (True, False)
        assert store.ack(1, None) == 1
        assert (store.settled(2), store.poll()) == (True, {})

    def test_what_is_released_then_waits(self, scene: Scene) -> None:
        store = scene.start()

        def claim_and_release() -> None:
            store.claim(500)
            store.release()

        get_appending(store).after = claim_and_release
        store.append(make(0, 1), 0)
        assert store.waiting == 2
        assert deliver(store) == [(0, True), (1, True)]

    def test_another_process_may_deliver_them(self, scene: Scene) -> None:
        store, other = scene.start(), scene.start()
        get_appending(store).after = lambda: deliver(other)
        store.append(make(0, 1), 0)
        assert store.poll() == {"delivered": 2}
        assert store.settled(2)

    def test_a_poll_finds_none_of_them_lost(self, scene: Scene) -> None:
        store = scene.start()
        polled: list[object] = []
        get_appending(store).after = lambda: polled.append(store.poll())
        store.append(make(0, 1), 0)
        assert polled == [{}]
        assert store.poll() == {}
        assert deliver(store) == [(0, True), (1, True)]

    def test_what_is_added_after_a_poll_found_nothing_is_not_lost(self, scene: Scene) -> None:
        store, other = scene.start(), scene.start()
        store.append(make(0), 0)
        deliver(other)
        get_delivering(store).after = lambda: store.append(make(1), 1)
        assert store.poll() == {"delivered": 1}
        assert deliver(store) == [(1, True)]
        assert (store.poll(), store.settled(2)) == ({}, True)


class TestWithoutAnAnswer:
    """The server has the events, and the caller will append them again."""

    def test_what_was_claimed_meanwhile_is_counted_once_as_own(self, scene: Scene) -> None:
        store = scene.start()
        delivered: list[tuple[int, bool]] = []
        lose_answer(store, lambda: delivered.extend(deliver(store)))
        with pytest.raises(StoreError):
            store.append(make(0, 1), 0)
        assert delivered == [(0, True), (1, True)]
        assert list(store.append(make(0, 1, 2), 0)) == []
        assert scene.get_stored() == [2]
        assert deliver(store) == [(2, True)]
        assert (store.poll(), store.settled(3)) == ({}, True)

    def test_what_is_claimed_afterwards_is_counted_by_the_next_append(self, scene: Scene) -> None:
        store = scene.start()
        lose_answer(store)
        with pytest.raises(StoreError):
            store.append(make(0, 1), 0)
        # The caller still has them, and may deliver them from memory.
        assert deliver(store) == [(0, False), (1, False)]
        assert store.poll() == {}
        assert list(store.append(make(0, 1), 0)) == []
        assert scene.get_stored() == []
        assert (store.poll(), store.settled(2)) == ({"delivered": 2}, True)
        assert store.poll() == {}

    def test_what_is_claimed_before_the_next_append_and_acknowledged_after_it(
        self, scene: Scene
    ) -> None:
        store = scene.start()
        lose_answer(store)
        with pytest.raises(StoreError):
            store.append(make(0, 1), 0)
        batch, _ = store.claim(500)
        assert [type(data) for data in batch] == [Foreign, Foreign]
        store.append(make(0, 1), 0)
        assert store.ack(2, None) == 2
        assert (store.poll(), store.settled(2)) == ({"delivered": 2}, True)

    def test_an_end_during_the_next_append_is_counted_once(self, scene: Scene) -> None:
        store = scene.start()
        lose_answer(store)
        with pytest.raises(StoreError):
            store.append(make(0, 1), 0)
        store.claim(500)
        get_appending(store).before = lambda: store.ack(2, None)
        store.append(make(0, 1), 0)
        assert (store.poll(), store.settled(2)) == ({"delivered": 2}, True)

    def test_events_that_others_delivered_meanwhile_are_counted(self, scene: Scene) -> None:
        store, other = scene.start(), scene.start()
        lose_answer(store, lambda: deliver(other))
        with pytest.raises(StoreError):
            store.append(make(0, 1), 0)
        assert store.poll() == {}  # whose they are is not known yet
        assert list(store.append(make(0, 1), 0)) == []
        assert store.poll() == {"delivered": 2}
        assert scene.get_stored() == []

    def test_what_vanished_meanwhile_is_lost_once(self, scene: Scene) -> None:
        store = scene.start()
        lose_answer(store, lambda: scene.client.delete(scene.stream))
        with pytest.raises(StoreError):
            store.append(make(0, 1), 0)
        store.append(make(0, 1), 0)
        assert [store.poll(), store.poll()] == [{LOST_IN_STORE: 2}, {}]

    def test_repeated_attempts_with_other_groups_store_none_twice(self, scene: Scene) -> None:
        store = scene.start()
        store.append(make(0), 0)
        for numbers in ((1, 2), (1, 2, 3), (1,)):
            lose_answer(store)
            with pytest.raises(StoreError):
                store.append(make(*numbers), 1)
        store.append(make(1, 2), 1)
        lose_answer(store)
        with pytest.raises(StoreError):
            store.append(make(3, 4), 3)
        store.append(make(3, 4, 5), 3)
        assert scene.get_stored() == [0, 1, 2, 3, 4, 5]
        assert deliver(store) == [(number, True) for number in range(6)]

    def test_only_entries_that_may_have_been_added_are_searched(self, scene: Scene) -> None:
        store, other = scene.start(), scene.start()
        for at in range(0, 20_000, 500):
            other.append(make(*range(at, at + 500)), at)
        lose_answer(store)
        with pytest.raises(StoreError):
            store.append(make(0), 0)
        scene.client.config_resetstat()
        store.append(make(0), 0)
        calls = scene.client.info("commandstats")["cmdstat_xrange"]["calls"]
        assert calls < 10
        assert scene.client.xlen(scene.stream) == 20_001


class TestRoom:
    def test_what_an_append_drops_is_no_loss_when_a_poll_runs_meanwhile(self, scene: Scene) -> None:
        """The poll finds events gone, before the answer says that they were dropped."""
        store = scene.start(max_events=2)
        store.append(make(0, 1), 0)
        polled: list[object] = []
        get_appending(store).after = lambda: polled.append(store.poll())
        dropped = store.append(make(2), 2)
        assert ([*dropped], [type(data) for data in dropped]) == (make(0), [bytes])
        assert polled == [{}]
        assert store.poll() == {}
        assert store.settled(1)

    def test_what_vanished_while_an_append_ran_is_lost_all_the_same(self, scene: Scene) -> None:
        store = scene.start()
        store.append(make(0, 1), 0)

        def lose() -> None:
            scene.client.delete(scene.stream)
            assert store.poll() == {}  # the append that runs may explain it

        get_appending(store).after = lose
        store.append(make(2), 2)
        assert [store.poll(), store.poll()] == [{LOST_IN_STORE: 3}, {}]

    def test_what_waits_includes_what_was_added_whichever_answer_comes_first(
        self, scene: Scene
    ) -> None:
        store = scene.start()
        store.append(make(0, 1), 0)
        get_delivering(store).after = lambda: store.append(make(2), 2)
        store.poll()  # its answer is older than that of the append
        assert store.waiting == 3
        get_appending(store).after = lambda: deliver(store, 2)
        store.append(make(3), 3)  # its answer is older than that of the acknowledgement
        assert store.waiting == 2
        store.claim(1)
        assert store.waiting == 1
        store.forget()
        assert store.waiting == 2


class TestAdoption:
    def test_events_of_a_dead_process_come_out_as_foreign_and_are_stored_once(
        self, scene: Scene
    ) -> None:
        dead, store = scene.start(source=SOURCE), scene.start()
        dead.append(make(0, 1, 2), 0)
        assert deliver(store, 1) == [(0, False)]
        # Its log has all but the first of them, and more.
        for _ in range(2):
            assert list(store.adopt(make(1, 2, 3, 4), SOURCE, 1)) == []
            assert scene.get_stored() == [1, 2, 3, 4]
        store.adopt(make(5), SOURCE, 5)
        store.adopt(make(3, 4), SOURCE, 3)
        store.append(make(0), 0)
        assert deliver(store) == [*((number, False) for number in range(1, 6)), (0, True)]
        assert (store.poll(), store.settled(1), store.appended_to) == ({}, True, 1)

    def test_what_has_ended_is_not_stored_again(self, scene: Scene) -> None:
        store = scene.start()
        store.adopt(make(0, 1), SOURCE, 0)
        assert len(deliver(store)) == 2
        store.adopt(make(0, 1), SOURCE, 0)
        assert scene.get_stored() == []

    def test_the_same_process_may_adopt_while_another_thread_delivers(self, scene: Scene) -> None:
        store = scene.start()
        store.append(make(9), 0)
        delivered: list[tuple[int, bool]] = []
        get_appending(store).after = lambda: delivered.extend(deliver(store))
        store.adopt(make(0, 1), SOURCE, 0)
        assert delivered == [(9, True), (0, False), (1, False)]

    def test_it_returns_what_was_dropped_for_room(self, scene: Scene) -> None:
        store = scene.start(max_events=2)
        store.append(make(8, 9), 0)
        dropped = store.adopt(make(0, 1, 2), SOURCE, 0)
        numbers = [(get_number(data), type(data) is Foreign) for data in dropped]
        assert numbers == [(8, False), (9, False), (0, True)]
        assert scene.get_stored() == [1, 2]
        assert (store.poll(), store.settled(2)) == ({}, True)

    def test_each_user_keeps_its_stream(self, scene: Scene) -> None:
        dead, store = scene.start(shards=4, source=SOURCE), scene.start(shards=4)
        events = [make_event(number % 8, number) for number in range(40)]
        dead.append(events, 0)
        before = [scene.client.xlen(f"{scene.stream}:{at}") for at in range(4)]
        for _ in range(2):
            store.adopt(events, SOURCE, 0)
            assert [scene.client.xlen(f"{scene.stream}:{at}") for at in range(4)] == before

    def test_a_full_server_refuses_it(self, scene: Scene) -> None:
        store = scene.start()
        scene.client.config_set("maxmemory", 1)
        try:
            with pytest.raises(StoreError, match="the server is full"):
                store.adopt(make(0), SOURCE, 0)
        finally:
            scene.client.config_set("maxmemory", 0)


def test_the_source_of_a_log_is_that_of_its_events(scene: Scene) -> None:
    store = scene.start(source=SOURCE)
    store.append(make(0), 0)
    assert [*scene.client.xrange(scene.stream)[0][1]] == [b"%d:0" % SOURCE]
    assert scene.client.exists(get_key(scene.stream, f"last:{SOURCE}"))


class Traffic:
    """A thread that appends; the caller delivers meanwhile, in two processes by turns."""

    TOTAL = 6_000

    def __init__(self, store: RedisStore, other: RedisStore) -> None:
        self.store, self.other = store, other
        self.ended: list[int] = []  # own events that ended here, by number
        self.outcomes: Counter[str] = Counter()  # of those that ended elsewhere
        self.problems: list[BaseException] = []
        self._thread = threading.Thread(target=self._append)

    def run(self) -> None:
        self._thread.start()
        deadline = time.monotonic() + LIMIT
        turn = 0
        while self._thread.is_alive() or not self._is_empty():
            assert time.monotonic() < deadline
            turn += 1
            self._deliver(self.other if turn % 3 == 0 else self.store)
            if turn % 4 == 0:
                self._poll()
        self._thread.join()
        self._poll()

    def _append(self) -> None:
        try:
            for at in range(0, self.TOTAL, 50):
                numbers = range(at, at + 50)
                events = [make_event(number % 9, number) for number in numbers]
                self._note(self.store.append(events, at))
        except Exception as error:  # noqa: BLE001  # raised by the test
            self.problems.append(error)

    def _deliver(self, store: RedisStore) -> None:
        try:
            batch, _ = store.claim(70)
        except NotNow:
            return
        assert store.ack(len(batch), None) == len(batch)
        if store is self.store:
            self._note(batch)

    def _note(self, events: Sequence[bytes]) -> None:
        self.ended += [get_number(data) for data in events if type(data) is not Foreign]

    def _is_empty(self) -> bool:
        self._poll()
        return not self.store.waiting

    def _poll(self) -> None:
        self.outcomes.update(self.store.poll())


def make_event(user: int, number: int) -> bytes:
    return b'{"event_type":"e","external_user_id":"user_%d","number":%d}' % (user, number)


@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("room", [ROOM, 100])
def test_with_two_threads_and_two_processes_each_event_ends_once(
    scene: Scene, shards: int, room: int
) -> None:
    store, other = (scene.start(room, shards=shards) for _ in range(2))
    traffic = Traffic(store, other)
    traffic.run()
    assert traffic.problems == []
    assert store.settled(traffic.TOTAL)
    assert len(traffic.ended) == len(set(traffic.ended))
    assert set(traffic.outcomes) <= {"delivered"}
    assert len(traffic.ended) + traffic.outcomes.total() == traffic.TOTAL
