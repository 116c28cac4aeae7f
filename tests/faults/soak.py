"""The soak: threads track through a proxy that injects faults; at the end all of it arrived once.

    python -m tests.faults.soak --seconds 60 --seed 1

The seed of a round decides the options of the client and which faults are injected when. Threads
and sockets have their own timing, so a seed repeats the faults, not every packet.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import dataclass, field
from random import Random
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

from tests.faults.figures import Figures, Inbox, compare
from tests.faults.proxy import FaultProxy
from tests.faults.schedule import Schedule
from whisperr import Whisperr
from whisperr.dev import LocalServer, faults

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.faults.figures import Call
    from whisperr import WhisperrError
    from whisperr.dev.faults import Fault

# Far more than it takes to deliver what is held once all faults are off.
_SETTLE_BOUND = 90.0
_ROUND = 8.0  # seconds of tracking in one round of the program
_EVENTS_PER_SECOND = 600
_SHARE_OF_IDENTIFIES = 0.02

_SERVER_FAULTS: tuple[tuple[Fault, ...], ...] = (
    (),
    (faults.status(503, rate=0.3),),
    (faults.status(500, rate=0.2), faults.lose_answer(rate=0.2)),
    (faults.status(429, rate=0.4, retry_after=0),),
    (faults.status(429, rate=0.2, retry_after=1),),
    (faults.lose_answer(rate=0.4),),
    (faults.legacy(), faults.cut(rate=0.2)),
    (faults.latency(0.1, rate=0.5),),
    (faults.latency(0.7, rate=0.2),),  # longer than a request may take
)


@dataclass(frozen=True)
class Plan:
    """One round: `events` calls from `threads` threads within `seconds`, and the client's options.

    `fault_rate`: the share of exchanges that the proxy disturbs in its worst phase, up to 1.
    """

    seed: int
    seconds: float = _ROUND
    events: int = int(_ROUND * _EVENTS_PER_SECOND)
    threads: int = 4
    fault_rate: float = 0.3
    options: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def from_seed(cls, seed: int) -> Plan:
        """Return the plan of a seed; successive seeds try different options."""
        random = Random(f"plan {seed}")
        options = {
            "max_retries": random.choice((0, 1, 3)),
            "flush_at": random.choice((1, 20, 100)),
            "max_batch_size": random.choice((7, 100, 500)),
        }
        threads, fault_rate = random.choice((1, 4, 8)), random.choice((0.1, 0.3, 0.6))
        return cls(seed, threads=threads, fault_rate=fault_rate, options=options)


class Round:
    """One client, one proxy, one server, and the threads that track."""

    def __init__(self, plan: Plan, report: Callable[[str], object] = lambda _: None) -> None:
        self._plan = plan
        self._report = report
        self._tracked = Event()
        self._errors: list[WhisperrError] = []
        self._problems: list[str] = []

    def run(self) -> Figures:
        """Track while faults are injected, deliver the rest, and compare with what arrived."""
        inbox = Inbox()
        server = LocalServer(keep=10, seed=self._plan.seed, on_arrival=inbox.add)
        with server, FaultProxy(server.port) as proxy:
            client = Whisperr("wrk_test", base_url=proxy.url, **self._options())
            calls = self._run_with_faults(client, server, proxy)
            server.set_faults()
            proxy.use(None)
            self._settle(client)
            client.shutdown(10)
        figures = compare(calls, inbox.arrivals, client.stats())
        figures.problems += self._problems
        figures.faults = {**proxy.injected}
        for kind, count in server.summary()["faults"].items():
            figures.faults[f"server {kind}"] = count
        figures.pauses = sum(error.type == "retry_exhausted" for error in self._errors)
        return figures

    def _options(self) -> dict[str, Any]:
        return {
            "request_timeout": 0.5,
            "max_retries": 3,
            "flush_interval": 0.2,
            "max_queue_size": 1_000_000,
            "on_error": self._errors.append,
            **self._plan.options,
        }

    def _run_with_faults(
        self, client: Whisperr, server: LocalServer, proxy: FaultProxy
    ) -> list[list[Call]]:
        """Inject one phase of faults after the other until all threads have tracked."""
        calls: list[list[Call]] = [[] for _ in range(self._plan.threads)]
        threads = [
            Thread(target=self._track, args=(client, number, kept), daemon=True)
            for number, kept in enumerate(calls)
        ]
        for thread in threads:
            thread.start()
        phases = self._phases()
        until = next_report = time.monotonic()
        while any(thread.is_alive() for thread in threads):
            if time.monotonic() >= until:
                seconds, schedule, server_faults = next(phases)
                proxy.use(schedule)
                server.set_faults(*server_faults)
                until = time.monotonic() + seconds
            client.flush(timeout=0.2)  # ends a pause
            self._tracked.wait(0.02)
            if time.monotonic() >= next_report:
                next_report += 1.0
                self._check(client, proxy)
        return calls

    def _phases(self) -> Iterator[tuple[float, Schedule, tuple[Fault, ...]]]:
        random = Random(f"weather {self._plan.seed}")
        while True:
            seconds = random.uniform(0.2, 0.8)
            rate = random.choice((0.0, 0.5, 1.0)) * self._plan.fault_rate
            yield (
                seconds,
                Schedule(random.randrange(2**32), rate=rate),
                random.choice(_SERVER_FAULTS),
            )

    def _track(self, client: Whisperr, thread: int, calls: list[Call]) -> None:
        """Make this thread's share of the calls, numbered, in bursts, spread over the time."""
        random = Random(f"thread {self._plan.seed} {thread}")
        count = self._plan.events // self._plan.threads
        began = time.monotonic()
        burst = 0
        for number in range(count):
            mark = {"thread": thread, "number": number, "text": "x" * random.randrange(200)}
            if random.random() < _SHARE_OF_IDENTIFIES:
                client.identify(f"user_{thread}", traits=mark)
                calls.append((number, None))
            else:
                message_id = client.track(f"user_{thread}", "soak_step", mark)
                calls.append((number, message_id or f"not accepted: {number}"))
            burst -= 1
            if burst < 0:
                burst = random.randrange(40)
                ahead = began + self._plan.seconds * number / count - time.monotonic()
                self._tracked.wait(max(ahead, 0.0))

    def _settle(self, client: Whisperr) -> None:
        deadline = time.monotonic() + _SETTLE_BOUND
        while not client.flush(timeout=1.0):
            if time.monotonic() > deadline:
                self._problems.append(f"not delivered within {_SETTLE_BOUND:g} s")
                return

    def _check(self, client: Whisperr, proxy: FaultProxy) -> None:
        """Report the counts, and keep what is wrong already."""
        stats = client.stats()
        if stats.held < 0 or stats.dropped or stats.not_accepted:
            self._problems.append(f"while it ran: {stats}")
        self._report(
            f"seed {self._plan.seed}: accepted {stats.accepted}, delivered {stats.delivered}, "
            f"held {stats.held}, requests {stats.requests}, retries {stats.retries}, "
            f"faults {sum(proxy.injected.values())}, {stats.state}"
        )


def run_soak(
    seed: int, seconds: float, report: Callable[[str], object]
) -> tuple[Figures, list[int]]:
    """Run rounds with successive seeds for `seconds` or until one fails; return sums and seeds."""
    total, seeds = Figures(), list[int]()
    deadline = time.monotonic() + seconds
    while not total.failed and (not seeds or time.monotonic() < deadline):
        seeds.append(seed + len(seeds))
        total += Round(Plan.from_seed(seeds[-1]), report).run()
    return total, seeds


def get_repeat_hint(seed: int) -> str:
    """Return how to repeat a round."""
    return f"to repeat it: WHISPERR_SOAK_SEED={seed} make soak"


def main() -> int:
    """Run the soak as a program: a line of figures each second, JSON at the end."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.soak", description=main.__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    total, seeds = run_soak(given.seed, given.seconds, _print)
    _print(json.dumps({"seeds": seeds, **vars(total)}, indent=2))
    if total.failed:
        _print(get_repeat_hint(seeds[-1]))
    return int(total.failed)


def _print(line: str) -> None:
    print(line, flush=True)  # noqa: T201  # a program for people


if __name__ == "__main__":
    sys.exit(main())
