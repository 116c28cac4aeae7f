"""The simulated fleet: the same seed gives the same result, and every event is counted."""

from __future__ import annotations

import logging
from functools import cache
from typing import TYPE_CHECKING

import pytest
from benchmarks.fleet import scenarios
from benchmarks.fleet_figures import get_figures
from benchmarks.fleet_plot import to_drawing
from benchmarks.fleet_run import Fleet, Result, Scenario
from benchmarks.fleet_server import Trouble

if TYPE_CHECKING:
    from collections.abc import Iterator

PROCESSES = 15
OUTAGE = Scenario("Outage", "503 for five minutes", 560, Trouble(120, 420))


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    logger = logging.getLogger("whisperr")
    logger.disabled = True
    yield
    logger.disabled = False


@cache
def simulate(scenario: Scenario, queue: int = 10_000, seed: int = 1) -> Result:
    return Fleet(scenario, PROCESSES, queue, seed).run()


def test_the_same_seed_gives_the_same_result() -> None:
    assert Fleet(OUTAGE, PROCESSES, 10_000, 1).run() == simulate(OUTAGE)
    assert simulate(OUTAGE).requests != simulate(OUTAGE, seed=2).requests


def test_a_fleet_delivers_held_events_after_an_outage() -> None:
    result = simulate(OUTAGE)
    figures = get_figures(result)
    assert figures.shed == 0
    assert figures.drained_after is not None
    assert figures.drained_after <= 120  # the longest pause, and the last retry before it
    assert max(result.held[300:420]) > 5 * max(result.held[60:120])


def test_a_queue_that_is_too_small_sheds_the_difference() -> None:
    result = simulate(OUTAGE, queue=30)
    assert result.shed > 0
    assert result.delivered + result.shed <= result.accepted


def test_a_deploy_delivers_events_held_by_the_old_processes() -> None:
    deploy = Scenario("Deploy", "all at once", 200, deploy=(120, 125))
    result = simulate(deploy)
    assert result.lost_at_restart == 0
    assert sum(result.requests[120:126]) >= PROCESSES * 0.3


def test_the_fleet_exceeds_the_rate_limit() -> None:
    limit = next(one for one in scenarios(PROCESSES) if one.name == "Rate limit")
    assert limit.trouble is not None
    result = simulate(limit._replace(seconds=400))
    assert max(result.requests[121:400]) > limit.trouble.limit


def test_a_drawing_shows_every_result() -> None:
    results = [simulate(OUTAGE), simulate(OUTAGE, seed=2)]
    assert to_drawing(results).count("<polyline") == 2
