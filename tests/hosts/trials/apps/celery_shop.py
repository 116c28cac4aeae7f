"""An application of Celery whose broker is a folder; it sends its own task when it is ready."""

from __future__ import annotations

import os
from pathlib import Path

from celery import Celery
from celery.signals import worker_ready

from tests.hosts.trials.apps.waiting import Whisperr

folder = Path(os.environ["FOLDER"])
app = Celery("shop", broker="filesystem://")
app.conf.update(
    broker_transport_options={
        "data_folder_in": str(folder),
        "data_folder_out": str(folder),
        "control_folder": str(folder / "control"),
        "polling_interval": 0.05,
    },
    broker_connection_retry_on_startup=False,
)
whisperr = Whisperr()


@app.task
def pay() -> None:
    whisperr.track("user_8842", "payment_failed")


@worker_ready.connect
def send(**_: object) -> None:
    pay.delay()


# The page's lines stand here.
