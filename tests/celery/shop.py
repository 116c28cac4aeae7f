"""The example with a client that delivers only at the end of a process and in `flush`."""

from __future__ import annotations

import os
import runpy
from pathlib import Path

from celery import signals

from whisperr import Whisperr
from whisperr.celery import connect, from_argument

__all__ = ["app"]

# By its path: a package that is installed for other tests has the name `examples`, too.
app = runpy.run_path(str(Path(__file__).parents[2] / "examples" / "celery_app.py"))["app"]

connect(
    Whisperr(flush_interval=3600.0),
    resolve_user=from_argument("user_id"),
    flush_after_task=float(os.environ.get("FLUSH_AFTER_TASK", "0")) or None,
)
if "WITHOUT_SIGNAL" in os.environ:
    signals.worker_process_shutdown.receivers = []
