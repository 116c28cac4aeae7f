"""Kills processes that track and deliver, and compares what they were promised with what arrived.

    python -m tests.faults.kills --kills 1000 --buffers sqlite redis redis-log

Several processes at a time share one store and a server that fails, hangs, and loses requests and
answers. Each writes the id of an event to a pipe when `track()` has returned, and is killed at a
random moment, also while it starts, adopts, or delivers. Now and then the server works again and
one more process delivers what is left. Each promised event must be at the server then.

What is promised: with a file, or a log, every event whose `track()` has returned. With Redis alone,
every event that `stats().unstored` no longer counted; those that had returned for longer than 50 ms
are counted apart.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random
from threading import Condition, Event, Thread
from typing import TYPE_CHECKING

from tests.faults.proxy import FaultProxy
from tests.faults.schedule import Schedule
from tests.redis_server import RedisServer, why_not
from whisperr.dev import LocalServer, faults

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tests.faults.schedule import Kind
    from whisperr.dev import Arrival

BUFFERS = ("sqlite", "redis", "redis-log")
# Machines are noisy: only what hangs takes this long.
BOUND = 120.0
_TOGETHER = 4
_KILLS_PER_ROUND = 40
# A process is killed when it has tracked up to so many events, and up to so much later (seconds).
_MOST_EVENTS = 1_000
_LATEST = 0.05
_SHARE_KILLED_EARLY = 0.15  # whatever they have done, within the first second
_OLD = 0.05  # seconds

# Writes the id and the time of each event; "stored" when everything before is out of its memory.
_PROGRAM = """
import os, random, sys, threading, time
from whisperr import Whisperr
pause = threading.Event()
client = Whisperr("wrk_test", base_url=sys.argv[1], buffer=sys.argv[2], flush_at=7,
    flush_interval=0.05, max_batch_size=50, max_retries=1, request_timeout=0.5,
    max_queue_size=1_000_000)
for number in range(1_000_000):
    chosen = client.track(f"user_{number % 5}", "payment_failed", {"n": number})
    if chosen is None:
        sys.exit("not accepted")
    os.write(1, f"{chosen} {time.monotonic()}\\n".encode())
    if number % 20 == 19:
        pause.wait(random.choice((0, 0, 0.001, 0.01, 0.05)))  # else none lives to deliver
        if client.stats().unstored == 0:
            os.write(1, b"stored\\n")
    if number % 100 == 99:
        client.flush(0.1)  # also ends a pause
"""

# Delivers what all processes left, until its input ends.
_LAST_PROGRAM = """
import sys, threading
from whisperr import Whisperr
client = Whisperr("wrk_test", base_url=sys.argv[1], buffer=sys.argv[2], flush_interval=0.05,
    max_queue_size=1_000_000)
client.track("user_0", "the_last", {"n": -1})
ended = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
while not ended.is_set():
    client.flush(0.2)
    ended.wait(0.1)
sys.exit(not client.shutdown(30))
"""

_KINDS: tuple[Kind, ...] = (
    *("latency", "truncate", "half_close", "reset", "black_hole", "lose_answer"),
)
FLAKY = (
    faults.status(503, rate=0.1),
    faults.lose_answer(rate=0.1),
    faults.cut(rate=0.05),
    faults.latency(0.05, rate=0.2),
)


@dataclass
class KillCounts:
    """What became of the events of all killed processes."""

    buffer: str
    kills: int = 0
    returned: int = 0  # events whose `track()` has returned
    promised: int = 0
    lost: int = 0  # of the promised ones
    lost_old: int = 0  # not promised, but returned 50 ms before the kill or earlier
    unordered: int = 0  # processes whose events first arrived in another order
    copies: int = 0  # arrived again, with an id that the server knows
    requests: int = 0
    seconds: float = 0.0
    injected: dict[str, int] = field(default_factory=dict)


class Arrived:
    """The ids at the server, in the order of their first arrival. Its threads call `add`."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._numbers: dict[str, int] = {}
        self.copies = 0

    def add(self, arrival: Arrival) -> None:
        """Keep the id of one event."""
        if arrival.message_id is None or arrival.status == "refused":
            return
        with self._changed:
            self.copies += arrival.message_id in self._numbers
            self._numbers.setdefault(arrival.message_id, len(self._numbers))
            self._changed.notify_all()

    def get_missing(self, ids: Iterable[str]) -> list[str]:
        """Return those that have not arrived."""
        with self._changed:
            return [one for one in ids if one not in self._numbers]

    def wait_for(self, ids: Sequence[str], seconds: float) -> list[str]:
        """Wait until all have arrived; return those that have not within so many seconds."""
        missing = self.get_missing(ids)
        with self._changed:
            self._changed.wait_for(
                lambda: all(one in self._numbers for one in missing), timeout=seconds
            )
        return self.get_missing(missing)

    def is_in_order(self, ids: Sequence[str]) -> bool:
        """Return whether those that have arrived came in this order."""
        with self._changed:
            numbers = [self._numbers[one] for one in ids if one in self._numbers]
        return numbers == sorted(numbers)


class Killed:
    """One process, and what it said until it was killed."""

    def __init__(self, url: str, buffer: str, random: Random) -> None:
        self._events = random.randrange(1, _MOST_EVENTS)
        self._later = random.random() * _LATEST
        self._early = random.random() if random.random() < _SHARE_KILLED_EARLY else None
        self._process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, url, buffer], stdout=subprocess.PIPE
        )
        self._killed_at = 0.0
        self._lines: list[bytes] = []
        self._reached = Event()
        self._reader = Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.append(line)
            if len(self._lines) == self._events:
                self._reached.set()
        self._reached.set()

    def run(self) -> None:
        """Wait until its moment has come, and kill it."""
        try:
            self._reached.wait(BOUND if self._early is None else self._early)
            Event().wait(self._later)
        finally:
            self._killed_at = time.monotonic()
            self._process.kill()
            self._process.wait(BOUND)
            self._reader.join(BOUND)
            assert self._process.stdout is not None
            self._process.stdout.close()

    @property
    def ended_by_itself(self) -> bool:
        """Whether it was not killed: it failed."""
        return self._process.returncode != -signal.SIGKILL

    def get_events(self) -> tuple[list[str], int, int]:
        """Return the ids in order, how many of them were stored, and how many are old."""
        ids: list[str] = []
        stored = old = 0
        for line in self._lines:
            words = line.split()
            if not line.endswith(b"\n"):
                break
            if words == [b"stored"]:
                stored = len(ids)
            else:
                ids.append(words[0].decode())
                old += float(words[1]) <= self._killed_at - _OLD
        return ids, stored, old


class KillTest:
    """Rounds of kills over one store."""

    def __init__(self, buffer: str, directory: Path, redis: RedisServer | None, seed: int) -> None:
        self._random = Random(seed)
        self._log = buffer != "redis"
        self.counts = KillCounts(buffer)
        if redis is None:
            self._url = f"sqlite:///{directory}/events.db?lease=1"
        else:
            options = {"log": f"{directory}/log"} if buffer == "redis-log" else {}
            self._url = redis.url("kills", lease=1, timeout=5, **options)
        self._arrived = Arrived()
        self._server = LocalServer(keep=10, seed=seed, on_arrival=self._arrived.add)

    def run(self, kills: int, together: int = _TOGETHER, *, report: bool = False) -> KillCounts:
        """Kill so many processes, and count."""
        began = time.monotonic()
        with self._server, FaultProxy(self._server.port) as proxy:
            while self.counts.kills < kills:
                most = min(_KILLS_PER_ROUND, kills - self.counts.kills)
                self._run_round(proxy, most, together)
                self.counts.injected = {**proxy.injected, **self._server.summary()["faults"]}
                self.counts.requests = self._server.summary()["requests"]
                self.counts.copies = self._arrived.copies
                self.counts.seconds = round(time.monotonic() - began, 1)
                if report:
                    sys.stdout.write(f"{json.dumps(asdict(self.counts))}\n")
                    sys.stdout.flush()
                if self.counts.lost or self.counts.unordered:
                    break
        return self.counts

    def _run_round(self, proxy: FaultProxy, kills: int, together: int) -> None:
        proxy.use(Schedule(self._random.randrange(1 << 32), rate=0.1, kinds=_KINDS))
        self._server.set_faults(*FLAKY)
        seeds = iter([self._random.randrange(1 << 32) for _ in range(kills)])
        killed: list[Killed] = []

        def kill_one_after_the_other() -> None:
            for seed in seeds:
                one = Killed(proxy.url, self._url, Random(seed))
                killed.append(one)
                one.run()

        killers = [
            Thread(target=kill_one_after_the_other, daemon=True)
            for _ in range(min(together, kills))
        ]
        for killer in killers:
            killer.start()
        for killer in killers:
            killer.join(kills * BOUND)
        proxy.use(None)
        self._server.set_faults()
        assert len(killed) == kills
        assert not any(one.ended_by_itself for one in killed), "a process failed; see its output"
        self._count(killed)

    def _count(self, killed: Sequence[Killed]) -> None:
        """Have one more process deliver the rest, and compare."""
        promised: list[str] = []
        old: list[str] = []
        for one in killed:
            ids, stored, older = one.get_events()
            sure = len(ids) if self._log else stored
            promised += ids[:sure]
            old += ids[sure:older]
            self.counts.returned += len(ids)
        last = subprocess.Popen(
            [sys.executable, "-c", _LAST_PROGRAM, self._server.url, self._url],
            stdin=subprocess.PIPE,
        )
        try:
            lost = self._arrived.wait_for(promised, BOUND)
            last.communicate(timeout=BOUND)
        finally:
            last.kill()
            last.wait(BOUND)
        self.counts.kills += len(killed)
        self.counts.promised += len(promised)
        self.counts.lost += len(lost)
        self.counts.lost_old += len(self._arrived.get_missing(old))
        for one in killed:
            self.counts.unordered += not self._arrived.is_in_order(one.get_events()[0])


def kill_processes(
    buffer: str, kills: int, seed: int, together: int = _TOGETHER, *, report: bool = False
) -> KillCounts:
    """Kill so many processes of one kind of buffer, and count what became of their events."""
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        redis = None if buffer == "sqlite" else RedisServer(place)
        try:
            return KillTest(buffer, place, redis, seed).run(kills, together, report=report)
        finally:
            if redis is not None:
                redis.stop()


def main(arguments: Sequence[str] | None = None) -> int:
    """Kill processes of every kind of buffer; print counts after each round; 1 for a loss."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.kills", description=main.__doc__)
    parser.add_argument("--kills", type=int, default=1_000, help="for each buffer")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--together", type=int, default=_TOGETHER, help="processes at a time")
    parser.add_argument("--buffers", nargs="+", choices=BUFFERS, default=list(BUFFERS))
    given = parser.parse_args(arguments)
    failed = False
    for buffer in given.buffers:
        if buffer != "sqlite" and (reason := why_not()):
            sys.stdout.write(f"{buffer}: {reason}\n")
            continue
        counts = kill_processes(buffer, given.kills, given.seed, given.together, report=True)
        failed = failed or bool(counts.lost or counts.unordered)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
