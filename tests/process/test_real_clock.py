"""Bounds of waiting where tests replace the clock."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from tests.delivery.pipelines import Pipelines, track
from whisperr import Whisperr
from whisperr._process.exit import shutdown_all
from whisperr._process.real_clock import monotonic
from whisperr.testing import MemoryTransport

if TYPE_CHECKING:
    from whisperr._delivery.pipeline import Pipeline

freezegun = pytest.importorskip("freezegun")


def test_it_goes_on_while_the_clock_is_frozen() -> None:
    with freezegun.freeze_time("2026-01-01"):
        assert time.monotonic() == time.monotonic()
        first = monotonic()
        while monotonic() == first:
            pass


def test_it_goes_on_in_a_package_that_is_imported_while_the_clock_is_frozen() -> None:
    program = """
from freezegun import freeze_time
with freeze_time("2026-01-01"):
    from whisperr._process.real_clock import monotonic
    first = monotonic()
    while monotonic() == first:
        pass
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


@pytest.mark.parametrize("frozen_first", [True, False])
def test_waits_end_at_their_bound_while_the_clock_is_frozen(frozen_first: bool) -> None:
    transport = MemoryTransport(held=True)
    freezer = freezegun.freeze_time("2026-01-01")
    if frozen_first:
        freezer.start()
    client = Whisperr("wrk_test", transport=transport, flush_interval=3_600.0)
    if not frozen_first:
        freezer.start()
    try:
        client.track("u", "e")
        assert not client.flush(0.05)
        assert not client.shutdown(0.05)
    finally:
        freezer.stop()
        transport.let_go()


def test_the_exit_ends_at_its_bound_while_the_clock_is_frozen() -> None:
    transport = MemoryTransport(held=True)
    with freezegun.freeze_time("2026-01-01"):
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
