"""Bounds of waiting where tests replace the clock."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.delivery.pipelines import Pipelines, track
from whisperr import Whisperr
from whisperr._process.exit import shutdown_all
from whisperr._process.real_clock import monotonic
from whisperr.testing import MemoryTransport

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from whisperr._delivery.pipeline import Pipeline


@pytest.fixture(params=["freezegun", "by hand"])
def freeze(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[], object]]:
    """Stop `time.monotonic` when called, until the test is over."""
    if request.param == "freezegun":
        freezer: Any = pytest.importorskip("freezegun").freeze_time("2026-01-01")
        started: list[object] = []
        yield lambda: started.append(freezer.start())
        if started:
            freezer.stop()
    else:
        yield lambda: monkeypatch.setattr(time, "monotonic", lambda: 1.0)
        monkeypatch.undo()


def test_it_goes_on_while_the_clock_is_frozen(freeze: Callable[[], object]) -> None:
    freeze()
    assert time.monotonic() == time.monotonic()
    first = monotonic()
    while monotonic() == first:
        pass


@pytest.mark.skipif(sys.platform == "win32", reason="the clock is bound at import there")
def test_it_goes_on_in_a_package_that_is_imported_while_the_clock_is_frozen() -> None:
    program = """
import time
time.monotonic = lambda: 1.0
from whisperr._process.real_clock import monotonic
first = monotonic()
while monotonic() == first:
    pass
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


@pytest.mark.parametrize("frozen_first", [True, False])
def test_waits_end_at_their_bound_while_the_clock_is_frozen(
    freeze: Callable[[], object], frozen_first: bool
) -> None:
    transport = MemoryTransport(held=True)
    if frozen_first:
        freeze()
    client = Whisperr("wrk_test", transport=transport, flush_interval=3_600.0)
    if not frozen_first:
        freeze()
    try:
        client.track("u", "e")
        assert not client.flush(0.05)
        assert not client.shutdown(0.05)
    finally:
        transport.let_go()


def test_the_exit_ends_at_its_bound_while_the_clock_is_frozen(
    freeze: Callable[[], object],
) -> None:
    transport = MemoryTransport(held=True)
    freeze()
    client = Whisperr("wrk_test", transport=transport, flush_interval=3_600.0)
    client.track("u", "e")
    shutdown_all(0.05)
    transport.let_go()
    assert client.stats().dropped == {"shutdown": 1}


def test_a_wait_that_is_over_counts_whatever_the_clock_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = Pipelines()
    transport = MemoryTransport(held=True)
    one: Pipeline = made(transport)
    track(one, 1)
    still = monotonic()
    for module in ("thread", "pipeline"):
        monkeypatch.setattr(f"whisperr._delivery.{module}.monotonic", lambda: still)
    assert not one.flush(0.05)
    monkeypatch.undo()
    made.end()
