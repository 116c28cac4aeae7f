"""Simulates many processes with one clock and one queue of actions; the seed decides everything."""

from __future__ import annotations

import heapq
import random
from typing import NamedTuple

from benchmarks.fleet_process import Process
from benchmarks.fleet_server import Server, Trouble

EVENTS_PER_SECOND = 0.2  # per process: with a churn signal every five seconds, it is a busy one
_TRACK, _STEP, _RESTART = range(3)


class Scenario(NamedTuple):
    """What happens to a fleet.

    `deploy`: the first and the last second in which its processes restart.
    """

    name: str
    about: str
    seconds: int
    trouble: Trouble | None = None
    deploy: tuple[float, float] | None = None

    @property
    def over(self) -> int:
        """The second in which the trouble ends."""
        if self.trouble is not None:
            return int(self.trouble.end)
        return 0 if self.deploy is None else int(self.deploy[0])


class Result(NamedTuple):
    """The result of a scenario: requests in each second, and the counts of the events."""

    scenario: Scenario
    requests: list[int]
    held: list[int]
    accepted: int
    delivered: int
    shed: int
    lost_at_restart: int


class Fleet:
    """A running scenario: the next action is on top of the heap."""

    def __init__(self, scenario: Scenario, processes: int, queue: int, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311  # a simulation
        self._queue = queue
        self._scenario = scenario
        self.server = Server(scenario.trouble)
        self._alive = [self._make_process() for _ in range(processes)]
        self._ended = [
            0,
            0,
            0,
            0,
        ]  # accepted, delivered, shed and lost in processes that have ended
        self._due: list[tuple[float, int, int, Process]] = []
        self._planned: dict[Process, float] = {}
        self._order = 0
        self.held: list[int] = []
        for process in self._alive:
            self._plan(self._random.expovariate(EVENTS_PER_SECOND), _TRACK, process)
        if scenario.deploy is not None:
            for process in self._alive:
                self._plan(self._random.uniform(*scenario.deploy), _RESTART, process)

    def run(self) -> Result:
        """Run the scenario to its end."""
        while self._due and self._due[0][0] < self._scenario.seconds:
            now, _, kind, process = heapq.heappop(self._due)
            while len(self.held) <= now:
                self.held.append(sum(len(each.queue) for each in self._alive))
            if process.scheduler.ended:
                continue
            if kind == _TRACK:
                self._track(now, process)
            elif kind == _RESTART:
                self._restart(now, process)
            elif self._planned.get(process) == now:
                self._step(now, process)
        return self._get_result()

    def _make_process(self) -> Process:
        return Process(self.server, self._random, self._queue)

    def _plan(self, at: float, kind: int, process: Process) -> None:
        self._order += 1  # actions planned for one moment run in the order of planning
        heapq.heappush(self._due, (at, self._order, kind, process))

    def _track(self, now: float, process: Process) -> None:
        if process.track():
            self._step(now, process)
        self._plan(now + self._random.expovariate(EVENTS_PER_SECOND), _TRACK, process)

    def _step(self, now: float, process: Process) -> None:
        following = process.step(now)
        if following < self._scenario.seconds and following != self._planned.get(process):
            self._planned[process] = following
            self._plan(following, _STEP, process)

    def _restart(self, now: float, process: Process) -> None:
        process.end(now)
        self._ended = [a + b for a, b in zip(self._ended, _counts(process), strict=True)]
        successor = self._make_process()
        self._alive[self._alive.index(process)] = successor
        self._plan(process.now + self._random.expovariate(EVENTS_PER_SECOND), _TRACK, successor)

    def _get_result(self) -> Result:
        totals = self._ended
        for process in self._alive:
            totals = [a + b for a, b in zip(totals, _counts(process), strict=True)]
        requests = [self.server.requests[second] for second in range(self._scenario.seconds)]
        return Result(self._scenario, requests, self.held, *totals)


def _counts(process: Process) -> tuple[int, int, int, int]:
    accounting = process.accounting
    return (
        accounting.get_accepted(process.queue.tail()),
        accounting.delivered,
        accounting.dropped["queue_full"],
        accounting.dropped["shutdown"],
    )
