"""A DAG of Airflow, whose task runs when the signal comes. As a program it runs the task."""

from __future__ import annotations

from datetime import datetime, timezone
from threading import Event

# Seconds until the task ends: longer than the signal takes.
UNTIL_END = 5.0

if __name__ == "__main__":
    from tests.hosts.trials.apps.airflow_supervisor import supervise

    supervise("shop", "pay")
else:
    from airflow.sdk import dag, task

    from tests.hosts.trials.apps.waiting import Whisperr

    whisperr = Whisperr()

    @task
    def pay() -> None:
        whisperr.track("user_8842", "payment_failed")
        Event().wait(UNTIL_END)

    @dag(schedule=None, start_date=datetime(2026, 1, 1, tzinfo=timezone.utc))
    def shop() -> None:
        pay()

    shop()
