"""Settings of gunicorn: each worker logs when it handles signals and has loaded the application.

A SIGTERM before that moment is lost on the worker, with any application: gunicorn then waits for
it without success.
"""

from __future__ import annotations

import sys


def post_worker_init(worker: object) -> None:
    print("worker ready", file=sys.stderr, flush=True)
