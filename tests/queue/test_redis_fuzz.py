"""Another client changes the keys of a buffer at random: nothing raises, each event ends once.

`WHISPERR_FUZZ_CASES=5000 WHISPERR_FUZZ_SEED=7 pytest tests/queue/test_redis_fuzz.py` tries more for
longer. A failure names the seed of its case, and what was done.
"""

from __future__ import annotations

import os
import random
from contextlib import suppress
from typing import TYPE_CHECKING

from tests.delivery.rig import event
from tests.queue.processes import RedisProcesses
from tests.queue.queues import get_accounting
from whisperr._queue.memory import count_own
from whisperr._queue.redis.keys import get_key
from whisperr.errors import NotNow

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from redis import Redis

    from tests.redis_server import RedisServer
    from whisperr._queue.durable import LeasedQueue

CASES = int(os.environ.get("WHISPERR_FUZZ_CASES", "150"))
SEED = int(os.environ.get("WHISPERR_FUZZ_SEED", "1"))
STEPS = 40
SUMS = ("rows", "bytes", "newest", "owner", "taken_to", "taken_rows", "taken_bytes", "front_to")
FIELDS = (*SUMS, "check", "first", "last", "from", "to", "ack", "delivered", "queue_full", "-")
VALUES = ("", "abc", "-1", "0", "3", "1e9", "99999999999999999999", "0-0", "5-5", "9" * 19 + "-0")
ENDS = ("", "state", "lease", "rejected", "last:{me}", "endings:0", "endings:1")


class Case:
    """Two processes, and an administrator who makes mistakes."""

    def __init__(self, server: RedisServer, seed: int) -> None:
        self.random = random.Random(seed)
        shards = self.random.choice((1, 1, 2))
        self.processes = RedisProcesses(server, f"fuzz-{os.getpid()}-{seed}", shards=shards)
        self.client: Redis = self.processes.client
        self.queues = [self.processes.start(max_events=30) for _ in range(2)]
        self.streams = [stream.keys[0] for stream in self.processes.store._streams]
        self.accepted = [0, 0]
        self.ended = [0, 0]
        self.batches: list[Sequence[bytes]] = [(), ()]
        self.done: list[str] = []

    def run(self) -> None:
        for _ in range(STEPS):
            self.step()
        self.finish()

    def step(self) -> None:
        at = self.random.randrange(2)
        steps: list[tuple[int, Callable[[int], object]]] = [
            (8, self.put),
            (4, self.claim),
            (4, self.ack),
            (2, self.release),
            (2, lambda at: self.queues[at].extend(5)),
            (2, lambda at: self.queues[at].poll()),
            (2, lambda at: self.queues[at].settled(self.queues[at].tail())),
            (2, lambda _: self.processes.pass_retry()),
            (1, lambda _: self.end_leases()),
            (5, self.damage),
        ]
        weights, acts = zip(*steps, strict=True)
        act = self.random.choices(acts, weights)[0]
        self.done.append(f"{getattr(act, '__name__', act)}({at})")
        act(at)
        queue = self.queues[at]
        assert len(queue) >= 0
        assert queue.held_bytes >= 0

    def put(self, at: int) -> None:
        self.accepted[at] += 1
        data = event(self.accepted[at]).replace(b'"u"', b'"u%d"' % self.random.randrange(5))
        self.count(at, self.queues[at].put(data))

    def claim(self, at: int) -> None:
        with suppress(NotNow):
            self.batches[at] = self.queues[at].claim(self.random.choice((1, 3, 500)))
            return
        self.batches[at] = ()

    def ack(self, at: int) -> None:
        batch = self.batches[at]
        wanted = self.random.randint(0, len(batch))
        owned = self.queues[at].ack(wanted)
        assert 0 <= owned <= wanted
        self.count(at, batch[:owned])
        self.batches[at] = batch[owned:] if owned == wanted else ()

    def release(self, at: int) -> None:
        self.batches[at] = ()
        self.count(at, self.queues[at].release())

    def end_leases(self) -> None:
        for stream in self.streams:
            self.client.delete(get_key(stream, "lease"))

    def count(self, at: int, events: Sequence[bytes]) -> None:
        self.ended[at] += count_own(events)

    def damage(self, at: int) -> None:
        store = self.queues[at]._store
        me = store._me.decode()  # type: ignore[attr-defined]  # of the Redis store
        stream = self.random.choice(self.streams)
        end = self.random.choice(ENDS).format(me=me)
        key = get_key(stream, end) if end else stream
        field, value = self.random.choice(FIELDS), self.random.choice(VALUES)
        client = self.client
        if "endings" in end:
            field = f"{me}:{field}"
        copy = {f"{me}:{self.accepted[at]}": event(1)}
        acts: dict[str, Callable[[], object]] = {
            "hset": lambda: client.hset(key, field, value),
            "hdel": lambda: client.hdel(key, field),
            "delete": lambda: client.delete(key),
            "set": lambda: client.set(key, value),
            "lpush": lambda: client.lpush(key, value),
            "persist": lambda: client.persist(key),
            "xadd": lambda: client.xadd(stream, {field: value}),
            "xadd like ours": lambda: client.xadd(stream, {"1:1": value}),
            "xadd a copy": lambda: client.xadd(stream, copy),
            "xtrim": lambda: client.xtrim(stream, maxlen=self.random.randrange(5)),
            "xdel": lambda: client.xdel(stream, self.random.choice(client.xrange(stream))[0]),
            "rename": lambda: client.rename(key, f"{stream}-away"),
            "rename back": lambda: client.rename(f"{stream}-away", stream),
        }
        name = self.random.choice([*acts])
        self.done[-1] = f"{name} {key} {field} {value!r}"
        with suppress(Exception):  # the server refuses some of them
            acts[name]()

    def finish(self) -> None:
        """Repair keys of another type; then every event must end."""
        for stream in self.streams:
            types = {
                stream: b"stream",
                get_key(stream, "rejected"): b"stream",
                get_key(stream, "lease"): b"string",
            }
            for key in self.client.scan_iter(f"*{stream}*"):
                if self.client.type(key) != types.get(key.decode(), b"hash"):
                    self.client.delete(key)
        for turn in range(200):
            at = turn % 2
            self.processes.pass_retry()
            self.end_leases()
            self.queues[at].poll()
            self.claim(at)
            self.count(at, self.batches[at][: self.queues[at].ack(len(self.batches[at]))])
            if turn > 5 and not any(map(len, self.queues)):
                break
        assert [len(queue) for queue in self.queues] == [0, 0]
        assert [self.client.xlen(stream) for stream in self.streams] == [0] * len(self.streams)
        for at, queue in enumerate(self.queues):
            queue.poll()
            assert queue.settled(queue.tail())
            queue.poll()
            assert get_accounting(queue).problem is None
            assert self.get_ended(at, queue) == self.accepted[at]
            queue.drain()
        self.client.delete(*self.client.scan_iter(f"*{self.processes.stream}*"))

    def get_ended(self, at: int, queue: LeasedQueue) -> int:
        counts = get_accounting(queue)
        lost = sum(count_own(events) for _, events in counts.losses)
        return self.ended[at] + lost + sum(counts.settled.values()) + counts.lost_own


def test_nothing_raises_and_each_event_ends_once(redis_server: RedisServer) -> None:
    for seed in range(SEED, SEED + CASES):
        case = Case(redis_server, seed)
        try:
            case.run()
        except Exception as error:
            steps = "\n".join(case.done)
            raise AssertionError(f"seed {seed}: {error!r}\n{steps}") from error
