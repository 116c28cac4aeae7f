"""An exception of a signal handler at any point of a call that uses Redis.

Random time limits are in `tests.faults.interrupts`, in a process that nothing measures.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests import interrupting
from tests.delivery.rig import event
from tests.interrupting import PACKAGE, interrupt_everywhere
from tests.queue.queues import RecordingAccounting, open_directly
from whisperr._queue.memory import count_own
from whisperr._queue.redis.store import RedisStore
from whisperr.buffers import parse_buffer_url
from whisperr.errors import NotNow

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from tests.redis_server import RedisServer

ROOM = 1_000_000
NAMES = ["put", "claim", "ack", "extend", "release", "settled", "poll"]


# redis-py does not close a socket whose opening is interrupted; the interpreter does, and warns.
UNCLOSED = ["ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"]


class Scene:
    """A queue over a stream of its own, with three events in it."""

    numbers = itertools.count()

    def __init__(self, server: RedisServer, name: str) -> None:
        self.accounting = RecordingAccounting()
        url = server.url(f"{name}-{next(self.numbers)}", timeout=5)
        queue = open_directly(parse_buffer_url(url), ROOM, 1_000 * ROOM, self.accounting)
        assert isinstance(queue._store, RedisStore)
        self.queue, self.store = queue, queue._store
        self.ended = 0
        for number in range(3):
            self.queue.put(event(number))

    @property
    def accepted(self) -> int:
        return self.queue.tail()

    def claim(self) -> Sequence[bytes]:
        try:
            return self.queue.claim(2)
        except NotNow:
            return ()

    def ack(self) -> None:
        before = len(self.store._claimed)
        try:
            self.queue.ack(2)
        finally:  # what is removed there and here has ended, although the call did not return
            self.ended += before - len(self.store._claimed)

    def check(self) -> None:
        """Nothing is stuck, and each event ends exactly once."""
        assert not self.queue._access.mutex.is_mine
        self.queue.put(event(9))  # the next call works
        assert self.queue.poll() > 0
        assert len(self.queue._transit) == 0
        self.queue.release()
        for _ in range(self.accepted + 2):
            batch = self.claim()
            assert self.queue.ack(len(batch)) == len(batch)
            self.ended += len(batch)
        self.queue.poll()
        assert self.queue.settled(self.queue.tail())
        settled = self.accounting.settled
        assert set(settled) <= {"delivered"}
        assert self.ended + settled.get("delivered", 0) == self.accepted
        assert (len(self.queue), self.queue.held_bytes) == (0, 0)
        assert (self.accounting.lost_own, self.accounting.losses) == (0, [])
        assert self.accounting.problem is None
        self.queue.drain()

    def act(self, name: str) -> None:
        calls: dict[str, Callable[[], object]] = {
            "put": lambda: self.queue.put(event(5)),
            "claim": self.claim,
            "ack": self.ack,
            "extend": lambda: self.queue.extend(60),
            "release": self.queue.release,
            "settled": lambda: self.queue.settled(self.queue.tail()),
            "poll": self.queue.poll,
        }
        calls[name]()


@pytest.mark.parametrize("opened", [True, False], ids=["open", "closed"])
@pytest.mark.parametrize("name", NAMES)
def test_after_it_nothing_is_stuck_and_each_event_ends_once(
    name: str, opened: bool, redis_server: RedisServer, tmp_path: Path
) -> None:
    def story(interrupt: Callable[[Callable[[], object]], Any]) -> None:
        scene = Scene(redis_server, tmp_path.name)
        if name in {"ack", "extend", "release"}:
            scene.queue.claim(2)
        if not opened:
            scene.store.close()
        interrupt(lambda: scene.act(name))
        scene.check()

    assert interrupt_everywhere(story, every=1 if opened else 3) > 10


@pytest.fixture
def into_redis_py(monkeypatch: pytest.MonkeyPatch) -> None:
    import redis

    package = str(Path(redis.__file__).parent)
    monkeypatch.setattr(interrupting, "PACKAGE", (PACKAGE, package))


@pytest.mark.filterwarnings(*UNCLOSED)
@pytest.mark.usefixtures("into_redis_py")
@pytest.mark.parametrize("name", NAMES)
def test_it_also_holds_within_redis_py(
    name: str, redis_server: RedisServer, tmp_path: Path
) -> None:
    def story(interrupt: Callable[[Callable[[], object]], Any]) -> None:
        scene = Scene(redis_server, tmp_path.name)
        if name in {"ack", "extend", "release"}:
            scene.queue.claim(2)
        scene.store.close()
        interrupt(lambda: scene.act(name))
        scene.check()

    # The next prime number: points in loops are not always the same ones.
    assert interrupt_everywhere(story, every=13) > 100


@pytest.mark.parametrize("name", ["append", "adopt"])
def test_adding_again_after_it_stores_none_twice_and_each_ends_once(
    name: str, redis_server: RedisServer, tmp_path: Path
) -> None:
    """The thread that appends calls the store again with the same numbers."""
    events = [event(number) for number in range(20, 25)]

    def story(interrupt: Callable[[Callable[[], object]], Any]) -> None:
        scene = Scene(redis_server, tmp_path.name)
        store, first = scene.store, 3 if name == "append" else 0

        def add() -> None:
            if name == "adopt":
                store.adopt(events, 5, first)
            elif store.appended_to != first + len(events):
                store.append(events, first)

        interrupt(add)
        add()
        assert store.waiting == 3 + len(events)
        batch, _ = store.claim(100)
        assert len(batch) == 3 + len(events)
        assert count_own(batch) == (len(batch) if name == "append" else 3)
        assert store.ack(len(batch), None) == len(batch)
        assert (store.poll(), store.settled(first + len(events))) == ({}, True)
        scene.queue.drain()

    assert interrupt_everywhere(story, every=1) > 10
