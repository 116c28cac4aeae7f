"""A Celery application that sends its own tasks when the worker is ready; each tracks one event."""

from __future__ import annotations

import os
from pathlib import Path

from celery import Celery
from celery.signals import worker_process_shutdown, worker_ready

from whisperr import Whisperr

TASKS = 8

whisperr = Whisperr(flush_at=1_000_000, flush_interval=float(os.environ["FLUSH_INTERVAL"]))
folder = Path(os.environ["BROKER_FOLDER"])
app = Celery("celery_shop", broker="filesystem://")
app.conf.update(
    broker_transport_options={
        "data_folder_in": str(folder),
        "data_folder_out": str(folder),
        "control_folder": str(folder / "control"),
        "polling_interval": 0.05,
    },
    broker_connection_retry_on_startup=False,
    worker_max_tasks_per_child=int(os.environ.get("MAX_TASKS", "0")) or None,
)


@app.task
def charge(n: int) -> None:
    whisperr.track("user", "task_done", {"n": n})


@worker_ready.connect
def send_tasks(**_: object) -> None:
    for n in range(TASKS):
        charge.delay(n)


if os.environ["REMEDY"] == "signal":

    @worker_process_shutdown.connect
    def deliver(**_: object) -> None:
        whisperr.shutdown()
