"""A script under gevent. ORDER says when it patches: before the import, the client or an event."""

from __future__ import annotations

import os
import sys

import gevent
from gevent import monkey

ORDER = os.environ["ORDER"]
if ORDER == "patch, import, make":
    monkey.patch_all()

from whisperr import Whisperr  # noqa: E402  # the order is the subject

if ORDER == "import, patch, make":
    monkey.patch_all()
whisperr = Whisperr(flush_at=1_000_000, flush_interval=float(os.environ["FLUSH_INTERVAL"]))
if ORDER == "import, make, patch":
    monkey.patch_all()

TASKS = range(8)
alive = True
ticks = 0


def tick() -> None:
    global ticks  # noqa: PLW0603  # a count of the whole program
    while alive:
        gevent.sleep(0.001)
        ticks += 1


def work(n: int) -> bool:
    whisperr.track("user", "task_done", {"n": n})
    return whisperr.flush(30)


def hammer(n: int) -> None:
    """Track from a thread of the operating system, which gevent's pool gives."""
    whisperr.track("user", "thread_done", {"n": n})


ticker = gevent.spawn(tick)
whisperr.track("user", "task_done", {"n": len(TASKS)})
before = ticks
jobs = [gevent.spawn(work, n) for n in TASKS]
gevent.joinall(jobs, raise_error=True)
print("flushed", [job.value for job in jobs] == [True] * len(TASKS), file=sys.stderr)
print("other greenlets ran", ticks > before + 20, file=sys.stderr)
pool = gevent.get_hub().threadpool
for job in [pool.spawn(hammer, n) for n in TASKS]:
    job.get()
alive = False
ticker.join()
whisperr.track("user", "at_the_end", {"n": 0})
if os.environ["ENDING"] == "shutdown":
    print("shut down", whisperr.shutdown(), file=sys.stderr)
