"""A store in memory, and a leased queue over it, with a clock that the test advances."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from tests.delivery.rig import event
from tests.queue.queues import RecordingAccounting
from whisperr._queue.durable import LeasedQueue
from whisperr._queue.intake import RETRY
from whisperr._queue.log.adoption import Adoption
from whisperr._queue.log.left import LeftLogs
from whisperr._queue.log.log import Log
from whisperr._queue.store import StoreFullError
from whisperr.errors import StoreError
from whisperr.testing import FakeClock

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from whisperr._queue.storer import Storer
    from whisperr.errors import Loss, NotNow

OWNER = "events"
ROOM = 1_000_000
EVENTS = [event(number) for number in range(8)]


class FakeStore:
    """A store in a list, for one process, that fails while it has a `problem`."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, bytes]] = []
        self.claimed = 0
        self.problem: str | None = None
        self.refusal: NotNow | None = None
        self.outcomes: dict[str, int] = {}
        self.owned = True
        self.calls: list[str] = []
        self.appended_to = 0
        self.adopted: list[tuple[int, int, bytes]] = []
        self.rejected = 0
        self.full = False
        self.kept: str | None = None
        self.free = threading.Event()
        self.free.set()

    def _record(self, name: str) -> None:
        self.calls.append(name)
        assert self.free.wait(10)
        if self.problem is not None:
            raise StoreError(self.problem)

    @property
    def waiting(self) -> int:
        return len(self.rows) - self.claimed

    @property
    def waiting_bytes(self) -> int:
        return sum(len(data) for _, data in self.rows[self.claimed :])

    def append(self, events: Sequence[bytes], number: int) -> Sequence[bytes]:
        self._record("append")
        if self.full:
            raise StoreFullError("no room")
        self.rows += [(number + at, data) for at, data in enumerate(events)]
        self.appended_to = number + len(events)
        return ()

    def adopt(self, events: Sequence[bytes], source: int, number: int) -> Sequence[bytes]:
        self._record("adopt")
        known = {at for of, at, _ in self.adopted if of == source}
        new = [(source, at, one) for at, one in enumerate(events, number) if at not in known]
        self.adopted += new
        self.rows += [(at - 1_000, data) for _, at, data in new]
        return ()

    def take_rejected(self) -> int:
        rejected, self.rejected = self.rejected, 0
        return rejected

    def claim(self, max_events: int) -> tuple[Sequence[bytes], Sequence[bytes]]:
        self._record("claim")
        if self.refusal is not None:
            raise self.refusal
        self.claimed = min(max_events, len(self.rows))
        return [data for _, data in self.rows[: self.claimed]], ()

    def extend(self, seconds: float) -> bool:
        self._record("extend")
        return self.owned

    def ack(self, count: int, loss: Loss | None) -> int:
        self._record("ack")
        if not self.owned:
            return 0
        count = min(count, self.claimed)
        del self.rows[:count]
        self.claimed -= count
        return count

    def release(self) -> Sequence[bytes]:
        self._record("release")
        self.claimed = 0
        return ()

    def forget(self) -> None:
        self.claimed = 0

    def settled(self, number: int) -> bool:
        self._record("settled")
        return all(at >= number for at, _ in self.rows)

    def poll(self) -> Mapping[str, int]:
        self._record("poll")
        outcomes, self.outcomes = self.outcomes, {}
        return outcomes

    def close(self) -> None:
        self.calls.append("close")

    @property
    def data(self) -> list[bytes]:
        return [data for _, data in self.rows]


class Scene:
    """A leased queue over a fake store, with its reports."""

    def __init__(
        self,
        max_events: int = 100,
        *,
        logs: Path | None = None,
        storer: Storer | None = None,
        store: FakeStore | None = None,
    ) -> None:
        """`logs`: the directory of a log before the store."""
        self.clock = FakeClock()
        self.store = FakeStore() if store is None else store
        self.accounting = RecordingAccounting()
        self.log = None if logs is None else Log(str(logs), OWNER, max_events, ROOM, fsync=False)
        self.queue = LeasedQueue(
            self.store,
            max_events,
            ROOM,
            self.accounting,
            clock=self.clock,
            log=self.log,
            adoption=None if logs is None else Adoption(LeftLogs(str(logs), OWNER), self.store),
            storer=storer,
            concurrent=storer is not None,
        )

    def put(self, *numbers: int) -> list[bytes]:
        return [data for number in numbers for data in self.queue.put(EVENTS[number])]

    def fail(self, problem: str | None = "disk full") -> None:
        self.store.problem = problem

    def mend(self) -> None:
        self.store.problem = None
        self.clock.now += RETRY
