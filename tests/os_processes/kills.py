"""Kills processes that track and deliver, and compares what they tracked with what arrived.

A process writes the id of each event to a pipe when `track()` has returned. Each of these events
must arrive exactly once, apart from copies with the same id.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from random import Random
from threading import Event

from whisperr import Whisperr
from whisperr.dev import LocalServer, faults

# Machines are noisy: only what hangs takes this long.
BOUND = 120.0

_PROGRAM = """
import os, sys
from whisperr import Whisperr
client = Whisperr("wrk_test", base_url=sys.argv[1], buffer=sys.argv[2], flush_at=7,
    flush_interval=0.05, max_batch_size=20, max_retries=1, request_timeout=0.5,
    max_queue_size=1_000_000)
for number in range(1_000_000):
    chosen = client.track(f"user_{number % 5}", "payment_failed", {"n": number})
    if chosen is None:
        sys.exit("not accepted")
    os.write(1, f"{chosen}\\n".encode())
    if number % 100 == 99:
        client.flush(0.1)  # also ends a pause
"""

FLAKY = (
    faults.status(503, rate=0.1),
    faults.lose_answer(rate=0.1),
    faults.cut(rate=0.05),
    faults.latency(0.05, rate=0.2),
)


@dataclass
class KillCounts:
    """What became of the events of all killed processes."""

    kills: int = 0
    returned: int = 0
    lost: int = 0
    doubled: int = 0
    unordered: int = 0
    copies: int = 0
    requests: int = 0


def run_and_kill(server: LocalServer, buffer: str, random: Random, most: int) -> list[str]:
    """Run one process until it has tracked some events, kill it, and return their ids."""
    process = subprocess.Popen(
        [sys.executable, "-c", _PROGRAM, server.url, buffer], stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        ids = [process.stdout.readline() for _ in range(random.randrange(1, most))]
        Event().wait(random.random() * 0.02)  # at any moment
    finally:
        process.kill()
        ids += process.stdout.readlines()
        process.stdout.close()
        process.wait(BOUND)
    return [line.decode().strip() for line in ids if line.endswith(b"\n")]


def kill_processes(times: int, buffer: str, seed: int, most: int = 1_000) -> KillCounts:
    """Kill so many processes that have sent something, deliver the rest, and count.

    One that dies before it has sent anything does not count, so up to ten times as many start.
    """
    random, counts = Random(seed), KillCounts()
    tracked: list[str] = []
    with LocalServer(keep=1_000_000, faults=FLAKY, seed=seed) as server:
        for _ in range(10 * times):
            before = server.summary()["requests"]
            tracked += run_and_kill(server, buffer, random, most)
            counts.kills += server.summary()["requests"] > before
            if counts.kills == times:
                break
        server.set_faults()
        # The bounds are those of the client that adds an event: the default would drop many.
        last = Whisperr("wrk_test", base_url=server.url, buffer=buffer, max_queue_size=1_000_000)
        with last:
            tracked.append(last.track("user_0", "payment_failed", {"n": -1}) or "not accepted")
            assert last.flush(BOUND), last.stats()
        arrived = server.arrivals(kind="event")
    taken = [one.body["context"]["$message_id"] for one in arrived if one.status == "accepted"]
    counts.returned = len(tracked)
    counts.lost = len(set(tracked) - set(taken))
    counts.doubled = len(taken) - len(set(taken))
    known = set(tracked)
    counts.unordered = int([one for one in taken if one in known] != tracked)
    counts.copies = sum(one.status == "duplicate" for one in arrived)
    counts.requests = server.summary()["requests"]
    return counts
