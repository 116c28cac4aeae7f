"""Celery and Django in one process: tasks that track with `get_client()` need no call."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.os_processes.program import run

if TYPE_CHECKING:
    from whisperr.dev import LocalServer

pytest.importorskip("celery", reason="Celery is not installed")

POOL_PROCESS = """
import os, sys
from django.conf import settings
settings.configure(
    WHISPERR_API_KEY="wrk_test", WHISPERR_BASE_URL=sys.argv[1], WHISPERR_FLUSH_INTERVAL=3600.0
)
from celery import signals
from whisperr.django import get_client
{first}
get_client().track("u", "task_done")
signals.worker_process_shutdown.send(sender=None)
os._exit(0)  # as Celery ends the processes of its pool
"""


def test_what_a_task_tracked_is_delivered_when_its_process_ends(server: LocalServer) -> None:
    run(POOL_PROCESS.format(first=""), server)
    assert [arrival.type for arrival in server.arrivals()] == ["task_done"]


def test_a_call_of_the_project_stands(server: LocalServer) -> None:
    first = """
from whisperr.celery import connect, current
connect(get_client, resolve_user=lambda task: "u")
get_client()
print(current.client is get_client(), flush=True)
"""
    out, _ = run(POOL_PROCESS.format(first=first), server)
    assert out == "True\n"
    assert len(server.arrivals()) == 1
