"""Interrupts public calls at random moments by signal handlers that raise, and compares the counts.

    python -m tests.faults.interrupts --count 10000 --seed 1 --kinds memory sqlite redis

One process, one client, a local server. A timer raises in the middle of random calls; in the end
nothing may be stuck, every event whose `track()` returned an id has arrived once, and the client
counted what arrived. The seed decides the calls and the delays; where a signal strikes also depends
on the machine.
"""

from __future__ import annotations

import argparse
import random
import signal
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tests.redis_server import RedisServer
from whisperr import Whisperr
from whisperr.dev import LocalServer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import FrameType

KINDS = ("memory", "sqlite", "redis")
_LIMIT = 60.0  # seconds; reached only when something is stuck
# Calls take microseconds in memory and hundreds of them in a store.
_LONGEST_DELAY = {"memory": 60e-6, "sqlite": 600e-6, "redis": 900e-6}
_FLUSH_EVERY = 200  # calls, so that the queue never becomes full


class TimeLimit(Exception):  # as task queues name theirs
    """What the signal handler raises."""


class Result(NamedTuple):
    """What came of one run; `problems` is empty when all is as promised."""

    kind: str
    seed: int
    calls: int
    interrupted: int
    seconds: float
    problems: tuple[str, ...]


class Interrupter:
    """Runs calls, and raises a TimeLimit in the middle of them."""

    def __init__(self) -> None:
        self.interrupted = 0
        self._armed = False
        signal.signal(signal.SIGALRM, self._raise)

    def run(self, call: Callable[[], object], delay: float) -> object:
        """Return what the call returns; None when it was interrupted after `delay` seconds."""
        try:
            self._armed = True
            signal.setitimer(signal.ITIMER_REAL, delay)
            result = call()
            self._armed = False
        except TimeLimit:
            self.interrupted += 1
            return None
        finally:
            self._armed = False
            signal.setitimer(signal.ITIMER_REAL, 0)
        return result

    def _raise(self, _number: int, _frame: FrameType | None) -> None:
        if self._armed:
            self._armed = False
            raise TimeLimit


class Run:
    """One client over one kind of queue."""

    def __init__(self, kind: str, seed: int, server: LocalServer, buffer: str | None) -> None:
        self.kind = kind
        self.seed = seed
        self._server = server
        self._random = random.Random(seed)
        self._reports: Counter[str] = Counter()
        self._client = Whisperr(
            "wrk_test",
            base_url=server.url,
            buffer=buffer,
            flush_interval=0.2,
            on_error=lambda error: self._reports.update([error.reason or error.type]),
        )
        self._returned: list[str] = []
        self._interrupter = Interrupter()

    def run(self, count: int) -> Result:
        """Call until so many calls were interrupted, then compare."""
        start = time.monotonic()
        calls = 0
        while self._interrupter.interrupted < count and time.monotonic() < start + _LIMIT * 10:
            delay = self._random.uniform(1e-6, _LONGEST_DELAY[self.kind])
            call, returns_id = self._choose(calls)
            result = self._interrupter.run(call, delay)
            if returns_id and isinstance(result, str):
                self._returned.append(result)
            calls += 1
            if calls % _FLUSH_EVERY == 0:
                self._client.flush(_LIMIT)
        problems = self._compare()
        seconds = time.monotonic() - start
        interrupted = self._interrupter.interrupted
        return Result(self.kind, self.seed, calls, interrupted, seconds, tuple(problems))

    def _choose(self, number: int) -> tuple[Callable[[], object], bool]:
        client = self._client
        properties = {"n": number, "values": [1, {"a": None}], "object": object()}
        others: list[Callable[[], object]] = [
            lambda: client.identify(f"u{number}", email="a@example.com"),
            lambda: client.flush(0.005),
            client.stats,
        ]
        if self._random.random() < 0.8:  # the share of track()
            return lambda: client.track("u", "some_event", properties), True
        return self._random.choice(others), False

    def _compare(self) -> list[str]:
        problems = []
        if not self._client.flush(_LIMIT):
            problems.append(f"the last flush returned False: {self._client.stats().problem}")
        stats = self._client.stats()
        if stats.held or stats.stored:
            problems.append(f"held {stats.held}, stored {stats.stored} after the last flush")
        arrived = Counter(
            one.body["context"]["$message_id"]
            for one in self._server.arrivals()
            if one.kind == "event" and one.status == "accepted"
        )
        identifies = sum(one.kind == "identify" for one in self._server.arrivals())
        gone = set(self._returned) - set(arrived)
        if gone and not stats.dropped:
            problems.append(f"{len(gone)} accepted events never arrived")
        dropped = sum(stats.dropped.values())
        if stats.accepted != stats.delivered + dropped:
            problems.append(f"counts: {stats}")
        if not sum(arrived.values()) + identifies >= stats.delivered >= len(self._returned):
            problems.append(
                f"delivered {stats.delivered}, arrived {len(arrived)} and {identifies} identifies, "
                f"returned {len(self._returned)}"
            )
        if dropped or self._reports:
            problems.append(f"dropped {stats.dropped}, reports {dict(self._reports)}")
        if not self._client.shutdown(_LIMIT):
            problems.append("shutdown returned False")
        return problems


def run_interrupts(kind: str, seed: int, count: int, directory: Path) -> Result:
    """Interrupt `count` calls of a client with this kind of queue."""
    redis = None
    buffer = None
    if kind == "sqlite":
        buffer = f"sqlite:///{directory / 'events.db'}"
    elif kind == "redis":
        redis = RedisServer(directory)
        buffer = redis.url("interrupts")
    try:
        with LocalServer(keep=1_000_000) as server:
            result = Run(kind, seed, server, buffer).run(count)
    finally:
        if redis is not None:
            redis.stop()
    if kind == "sqlite":
        result = result._replace(problems=result.problems + _check_file(directory / "events.db"))
    return result


def _check_file(path: Path) -> tuple[str, ...]:
    """Return what is wrong with the file: a lock that is still taken, or events left in it."""
    db = sqlite3.connect(path, timeout=1, isolation_level=None)
    try:
        db.execute("BEGIN IMMEDIATE")
        left = db.execute("SELECT count(*) FROM event").fetchone()[0]
        db.execute("ROLLBACK")
    except sqlite3.Error as error:
        return (f"another process cannot write: {error}",)
    finally:
        db.close()
    return (f"{left} events are left in the file",) if left else ()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run every kind and print the results; return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n", maxsplit=1)[0])
    parser.add_argument("--count", type=int, default=10_000, help="interruptions of each kind")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    chosen = parser.parse_args(arguments)
    failed = False
    for kind in chosen.kinds:
        with tempfile.TemporaryDirectory() as directory:
            result = run_interrupts(kind, chosen.seed, chosen.count, Path(directory))
        failed = failed or bool(result.problems)
        sys.stdout.write(
            f"{kind}: seed {result.seed}, {result.interrupted} of {result.calls} calls interrupted "
            f"in {result.seconds:.1f} s; problems: {'; '.join(result.problems) or 'none'}\n"
        )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
