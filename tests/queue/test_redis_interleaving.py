"""Two threads of a store at random moments of each other's calls: each event ends once.

One thread plays the one that appends and the one that delivers: while the server has a script of
one of them, before or after it runs, the other one acts; and some answers are lost.

`WHISPERR_FUZZ_CASES=5000 WHISPERR_FUZZ_SEED=7` tries more; a failure names the seed of its case.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from typing import TYPE_CHECKING

from tests.delivery.rig import event, get_number
from tests.queue.test_redis_concurrent import ROOM, Scene, get_appending, get_delivering
from whisperr._queue.memory import Foreign
from whisperr._queue.store import LOST_IN_STORE
from whisperr.errors import Loss, NotNow, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.redis_server import RedisServer

CASES = int(os.environ.get("WHISPERR_FUZZ_CASES", "150"))
SEED = int(os.environ.get("WHISPERR_FUZZ_SEED", "1"))
STEPS = 30


class Case:
    """A process with two threads, and another process that delivers as well."""

    def __init__(self, server: RedisServer, seed: int) -> None:
        self.random = random.Random(seed)
        self.scene = Scene(server, f"interleaving-{os.getpid()}-{seed}")
        self.room = self.random.choice((ROOM, ROOM, 4))
        self.store, self.other = self.scene.start(self.room), self.scene.start()
        self.stored_to = self.accepted = 0
        self.batch: Sequence[bytes] = ()
        self.ended: Counter[int] = Counter()  # own events, by number
        self.outcomes: Counter[str] = Counter()  # of those that ended elsewhere
        self.done: list[str] = []
        self.is_appending = self.is_delivering = False

    def run(self) -> None:
        for _ in range(STEPS):
            self.random.choice((self.append, self.deliver))()
        self.finish()

    def append(self) -> None:
        """Append all waiting events and some more; the delivering thread acts meanwhile."""
        self.accepted += self.random.randrange(3)
        numbers = range(self.stored_to, self.accepted)
        if not numbers or self.is_appending:
            return
        self.is_appending = True
        connection = get_appending(self.store)
        if not self.is_delivering:
            connection.before = self._maybe(self.deliver)
        after = None if self.is_delivering else self._maybe(self.deliver)
        if self.random.randrange(4) == 0:
            connection.after = self._lose(after)
        else:
            connection.after = after
        self.done.append(f"append {numbers}")
        try:
            self.count(self.store.append([event(number) for number in numbers], numbers[0]))
        except StoreError:
            self.done.append("no answer to the append")
        else:
            self.stored_to = self.accepted
        connection.before = connection.after = None
        self.is_appending = False

    def deliver(self) -> None:
        """Do one action of the delivering thread; the other one appends meanwhile."""
        acts: list[Callable[[], object]] = [
            self.claim,
            self.claim,
            self.ack,
            self.ack,
            self.release,
            self.poll,
            self.poll,
            lambda: self.store.settled(self.accepted),
            self.deliver_elsewhere,
            self.deliver_elsewhere,
        ]
        if self.is_delivering:
            return
        self.is_delivering = True
        act = self.random.choice(acts)
        connection = get_delivering(self.store)
        if not self.is_appending:
            connection.before = self._maybe(self.append)
            connection.after = self._maybe(self.append)
        self.done.append(getattr(act, "__name__", "settled"))
        act()
        connection.before = connection.after = None
        self.is_delivering = False

    def claim(self) -> None:
        self.batch = ()
        try:
            self.batch, _ = self.store.claim(self.random.choice((1, 3, 500)))
        except NotNow:
            self.done.append("not now")

    def ack(self) -> None:
        count = self.random.randint(0, len(self.batch))
        loss = self.random.choice((None, Loss(1, "rejected")))
        owned = self.store.ack(count, loss)
        self.count(self.batch[:owned])
        self.batch = self.batch[owned:] if owned == count else ()

    def release(self) -> None:
        self.batch = ()
        self.count(self.store.release())

    def poll(self) -> None:
        self.outcomes.update(self.store.poll())

    def deliver_elsewhere(self) -> None:
        if self.random.randrange(2):
            self.scene.client.delete(f"{{{self.scene.stream}}}:lease")  # it has run out
        try:
            batch, _ = self.other.claim(self.random.choice((1, 3)))
        except NotNow:
            return
        assert {type(data) for data in batch} <= {Foreign}
        self.other.ack(self.random.randint(0, len(batch)), None)
        self.other.release()

    def count(self, events: Sequence[bytes]) -> None:
        self.ended.update(get_number(data) for data in events if type(data) is not Foreign)

    def finish(self) -> None:
        while self.stored_to < self.accepted:
            self.append()
        self.release()
        self.scene.client.delete(f"{{{self.scene.stream}}}:lease")
        while True:
            self.batch, _ = self.store.claim(500)
            if not self.batch:
                break
            assert self.store.ack(len(self.batch), None) == len(self.batch)
            self.count(self.batch)
        for _ in range(2):
            self.poll()
        assert self.store.settled(self.accepted)
        assert self.store.waiting == 0
        assert set(self.ended.values()) <= {1}
        # If the answer is lost, it is unknown which events were dropped to make room.
        is_explained = self.room == ROOM or "no answer to the append" not in self.done
        expected = {"delivered", "rejected", "queue_full"} | (
            set() if is_explained else {LOST_IN_STORE}
        )
        assert set(self.outcomes) <= expected
        assert self.ended.total() + self.outcomes.total() == self.accepted
        assert not self.store._own.live
        self.scene.client.delete(*self.scene.client.scan_iter(f"*{self.scene.stream}*"))
        for store in self.scene.made:
            store.close()

    def _maybe(self, act: Callable[[], object]) -> Callable[[], object] | None:
        return act if self.random.randrange(3) == 0 else None

    def _lose(self, then: Callable[[], object] | None) -> Callable[[], object]:
        def fail() -> None:
            if then is not None:
                then()
            raise StoreError("no answer")

        return fail


def test_each_event_ends_once(redis_server: RedisServer) -> None:
    for seed in range(SEED, SEED + CASES):
        case = Case(redis_server, seed)
        try:
            case.run()
        except Exception as error:
            steps = "\n".join(case.done)
            raise AssertionError(f"seed {seed}: {error!r}\n{steps}") from error
