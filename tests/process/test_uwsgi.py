"""A server that lets no thread run is recognised by what its module says, and named once."""

from __future__ import annotations

import subprocess
import sys
from types import ModuleType

import pytest

from whisperr._process.uwsgi import get_obstacle, get_problem


def uwsgi(**attributes: object) -> ModuleType:
    module = ModuleType("uwsgi")
    vars(module).update(attributes)
    return module


@pytest.mark.parametrize(
    ("modules", "named"),
    [
        ({}, False),
        ({"uwsgi": uwsgi(has_threads=1, opt={"enable-threads": True})}, False),
        ({"uwsgi": uwsgi(has_threads=1, opt={"threads": b"2"})}, False),
        ({"uwsgi": uwsgi(has_threads=0, opt={"master": True})}, True),
        ({"uwsgi": uwsgi()}, False),  # some other module of that name
    ],
)
def test_only_a_uwsgi_without_threads_is_a_problem(
    modules: dict[str, ModuleType], named: bool
) -> None:
    assert ("enable-threads" in (get_problem(modules) or "")) is named


def test_it_is_logged_once_and_before_the_first_event() -> None:
    program = """
import sys, types
sys.modules["uwsgi"] = types.SimpleNamespace(has_threads=0)
from whisperr import Whisperr
Whisperr("wrk_test", disabled=True)
print("made", file=sys.stderr, flush=True)
Whisperr("wrk_test"), Whisperr("wrk_test")
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, check=True, text=True, timeout=60
    )
    assert done.stderr.startswith("made\nwhisperr: uWSGI runs no background threads")
    assert done.stderr.count("enable-threads = true") == 1


def ids(worker: int, master: int) -> dict[str, ModuleType]:
    return {"uwsgi": uwsgi(worker_id=lambda: worker, masterpid=lambda: master)}


@pytest.mark.parametrize(
    ("modules", "must_not"),
    [
        ({}, False),
        ({"uwsgi": uwsgi()}, False),  # some other module of that name
        (ids(0, 100), True),  # the master, which loads the application
        (ids(0, 0), True),  # without a master: the first process, before it serves
        (ids(1, 0), False),  # the same process when it serves
        (ids(2, 50), False),  # a worker
        (ids(0, 50), False),  # a mule, or the spooler
    ],
)
def test_only_the_process_that_will_fork_must_start_no_thread(
    modules: dict[str, ModuleType], must_not: bool
) -> None:
    assert (get_obstacle(modules, 100) is not None) is must_not


def test_events_of_a_process_that_will_fork_wait_for_a_flush() -> None:
    program = """
import os, sys, threading, types
sys.modules["uwsgi"] = types.SimpleNamespace(worker_id=lambda: 0, masterpid=os.getpid)
from whisperr import Whisperr
class Answer:
    status, headers, body = 202, {}, b"{}"
class Transport:
    def send(self, request, timeout):
        print(threading.current_thread() is threading.main_thread())
        return Answer()
    def close(self):
        pass
client = Whisperr("wrk_test", transport=Transport(), flush_at=1)
for _ in range(3):
    client.track("u", "app_loaded")
print(threading.active_count(), client.stats().held, client.flush(10), client.stats().held)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, check=True, text=True, timeout=60
    )
    assert done.stdout == "True\n1 3 True 0\n"
    assert done.stderr.count("events wait for flush() or the exit") == 1
