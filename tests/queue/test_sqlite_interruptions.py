"""An exception of a signal handler at any point of a call that uses a SQLite file."""

from __future__ import annotations

import gc
import itertools
import os
import sqlite3
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from tests.delivery.rig import event
from tests.interrupting import interrupt_everywhere
from tests.queue.queues import RecordingAccounting
from whisperr._queue.durable import LeasedQueue
from whisperr._queue.intake import RETRY
from whisperr._queue.sqlite.store import SQLiteStore
from whisperr.errors import NotNow
from whisperr.testing import FakeClock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path
    from typing import Any

ROOM = 1_000_000
# The default leaves points out; `WHISPERR_INTERRUPT_EVERY=1` tries all of them.
EVERY = int(os.environ.get("WHISPERR_INTERRUPT_EVERY", "0"))

# A connection that is interrupted before it has a name is closed when its last reference ends.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(autouse=True)
def collect() -> Iterator[None]:
    """Collect garbage, so that a connection is closed in the test that opened it."""
    yield
    gc.collect()


class Scene:
    """A queue over a file of its own, with three events in the file and one in memory."""

    numbers = itertools.count()

    def __init__(self, directory: Path, *, opened: bool = True) -> None:
        self.path = directory / f"{next(self.numbers)}.db"
        self.accounting = RecordingAccounting()
        self.store = SQLiteStore(str(self.path), "NORMAL", 15.0, 100, ROOM)
        self.clock = FakeClock()
        self.queue = LeasedQueue(self.store, 100, ROOM, self.accounting, clock=self.clock)
        self.put = Counter[bytes]()
        self.ended = Counter[bytes]()
        for number in range(3):
            self.put_event(number)
        if not opened:
            self.store.close()

    def put_event(self, number: int) -> None:
        self.put[event(number)] += 1
        self.queue.put(event(number))

    def claim(self) -> Sequence[bytes]:
        try:
            return self.queue.claim(2)
        except NotNow:
            return ()

    def check(self) -> None:
        """Check that no lock is held, other processes can write, and each event is stored once."""
        assert not self.queue._access.mutex.is_mine
        opened = self.store._session._file
        assert opened is None or not opened.db.in_transaction
        other = sqlite3.connect(self.path, timeout=0, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        other.execute("ROLLBACK")
        other.close()
        self.put_event(9)  # the next call works
        assert self.queue.poll() > 0
        assert len(self.queue._transit) == 0
        self.deliver_all()
        assert self.ended == self.put
        assert self.queue.settled(self.queue.tail())
        assert (len(self.queue), self.queue.held_bytes) == (0, 0)
        assert self.accounting.lost_own == 0
        assert self.accounting.problem is None

    def deliver_all(self) -> None:
        self.queue.release()
        for _ in range(20):
            batch = self.claim()
            self.ended.update(batch)
            assert self.queue.ack(len(batch)) == len(batch)

    def close(self) -> None:
        self.queue.drain()


def act_on(scene: Scene, name: str) -> Callable[[], object]:
    def ack() -> None:
        before = len(scene.store._session.view.claimed)
        try:
            scene.queue.ack(2)
        finally:  # what was committed has ended, although the call did not return
            ended = before - len(scene.store._session.view.claimed)
            scene.ended.update([event(number) for number in range(3)][:ended])

    calls: dict[str, Callable[[], object]] = {
        "put": lambda: scene.put_event(5),
        "claim": scene.claim,
        "ack": ack,
        "extend": lambda: scene.queue.extend(60),
        "release": scene.queue.release,
        "settled": lambda: scene.queue.settled(scene.queue.tail()),
        "poll": scene.queue.poll,
    }
    return calls[name]


@pytest.mark.parametrize("opened", [True, False], ids=["open", "closed"])
@pytest.mark.parametrize("name", ["put", "claim", "ack", "extend", "release", "settled", "poll"])
def test_after_it_nothing_is_stuck_and_each_event_is_there_once(
    name: str, opened: bool, tmp_path: Path
) -> None:
    def story(interrupt: Callable[[Callable[[], object]], Any]) -> None:
        scene = Scene(tmp_path, opened=opened)
        if name in {"ack", "extend", "release"}:
            scene.queue.claim(2)
            if not opened:
                scene.store.close()
        interrupt(act_on(scene, name))
        if name == "put" and not scene.queue.tail() > 3:
            scene.put[event(5)] -= 1  # interrupted before it was accepted
            scene.put = +scene.put
        scene.check()
        scene.close()

    # What opening the file adds is the same for all calls: each of them tries another part of it.
    every = 2 if opened else 7
    assert interrupt_everywhere(story, every=EVERY or every) > 10


def test_a_drain_that_is_interrupted_can_be_repeated(tmp_path: Path) -> None:
    def story(interrupt: Callable[[Callable[[], object]], Any]) -> None:
        scene = Scene(tmp_path)
        scene.queue.claim(2)
        interrupt(scene.queue.drain)
        scene.queue.drain()
        scene.store = SQLiteStore(str(scene.path), "NORMAL", 15.0, 100, ROOM)
        scene.accounting = RecordingAccounting()
        scene.queue = LeasedQueue(scene.store, 100, ROOM, scene.accounting)
        scene.check()
        scene.close()

    assert interrupt_everywhere(story, every=EVERY or 5) > 10


def test_while_the_store_fails_what_is_in_memory_stays_there_once(tmp_path: Path) -> None:
    def story(interrupt: Callable[[Callable[[], object]], Any]) -> None:
        scene = Scene(tmp_path)
        scene.deliver_all()
        locker = sqlite3.connect(scene.path, isolation_level=None)
        locker.execute("BEGIN IMMEDIATE")
        scene.put_event(4)
        scene.clock.now += RETRY
        interrupt(scene.claim)  # from memory
        locker.close()
        scene.clock.now += RETRY
        scene.queue.release()
        scene.check()
        scene.close()

    assert interrupt_everywhere(story, every=EVERY or 23) > 10


def test_a_batch_from_memory_is_stored_once(tmp_path: Path) -> None:
    def story(interrupt: Callable[[Callable[[], object]], Any]) -> None:
        scene = Scene(tmp_path)
        scene.deliver_all()
        locker = sqlite3.connect(scene.path, isolation_level=None)
        locker.execute("BEGIN IMMEDIATE")
        scene.put_event(4)
        scene.put_event(5)
        scene.clock.now += RETRY
        assert scene.claim()
        scene.queue.release()
        locker.close()
        scene.clock.now += RETRY
        interrupt(lambda: scene.queue.put(event(6)))
        if scene.queue.tail() > 5:
            scene.put[event(6)] += 1
        scene.check()
        scene.close()

    assert interrupt_everywhere(story, every=EVERY or 23) > 10
