"""Jobs of RQ and actors of Dramatiq; each tracks one event. REMEDY=flush delivers in the job."""

from __future__ import annotations

import os

from whisperr import Whisperr

whisperr = Whisperr(flush_at=1_000_000, flush_interval=float(os.environ["FLUSH_INTERVAL"]))


def charge(n: int) -> None:
    whisperr.track("user", "task_done", {"n": n})
    if os.environ["REMEDY"] == "flush":
        whisperr.flush(30)
