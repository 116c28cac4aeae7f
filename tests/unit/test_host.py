"""A server that lets no thread run is recognised by what its module says, and named once."""

from __future__ import annotations

import subprocess
import sys
from types import ModuleType

import pytest

from whisperr._host import problem_of


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
    assert ("enable-threads" in (problem_of(modules) or "")) is named


def test_it_is_told_once_and_before_the_first_event() -> None:
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
    assert done.stderr.startswith("made\nuWSGI runs no background threads")
    assert done.stderr.count("enable-threads = true") == 1
