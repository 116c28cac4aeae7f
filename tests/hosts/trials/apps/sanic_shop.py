"""An application of Sanic.

SIGTERM hangs its manager forever before that knows all workers, so it says when it does.
"""

from __future__ import annotations

import os

from sanic import HTTPResponse, Request, Sanic, text
from sanic.worker.manager import WorkerManager

from tests.hosts.trials.apps.waiting import Whisperr

whisperr = Whisperr()
app = Sanic("shop")


@app.get("/")
async def pay(request: Request) -> HTTPResponse:
    whisperr.track("user_8842", "payment_failed")
    return text("thank you")


def report(manager: WorkerManager) -> None:
    wait_for_workers(manager)
    os.write(2, b"the manager knows all workers\n")


wait_for_workers = WorkerManager.wait_for_ack
WorkerManager.wait_for_ack = report
