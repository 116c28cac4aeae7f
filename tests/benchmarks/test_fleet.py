"""The simulated fleet: the same seed tells the same story, and every event has its end."""

from __future__ import annotations

import logging
from functools import cache
from typing import TYPE_CHECKING

import pytest
from benchmarks.fleet import scenarios
from benchmarks.fleet_figures import figures_of
from benchmarks.fleet_plot import drawing_of
from benchmarks.fleet_run import Fleet, Scenario, Story
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
def told(scenario: Scenario, queue: int = 10_000, seed: int = 1) -> Story:
    return Fleet(scenario, PROCESSES, queue, seed).run()


def test_the_same_seed_tells_the_same_story() -> None:
    assert Fleet(OUTAGE, PROCESSES, 10_000, 1).run() == told(OUTAGE)
    assert told(OUTAGE).requests != told(OUTAGE, seed=2).requests


def test_a_fleet_delivers_after_an_outage_what_it_held_and_loses_nothing() -> None:
    story = told(OUTAGE)
    figures = figures_of(story)
    assert figures.shed == 0
    assert figures.drained_after is not None
    assert figures.drained_after <= 120  # the longest pause, and the last retry before it
    assert max(story.held[300:420]) > 5 * max(story.held[60:120])


def test_a_queue_that_is_too_small_sheds_the_difference() -> None:
    story = told(OUTAGE, queue=30)
    assert story.shed > 0
    assert story.delivered + story.shed <= story.accepted


def test_a_deploy_delivers_what_the_old_processes_held() -> None:
    deploy = Scenario("Deploy", "all at once", 200, deploy=(120, 125))
    story = told(deploy)
    assert story.lost_at_restart == 0
    assert sum(story.requests[120:126]) >= PROCESSES * 0.3


def test_a_rate_limit_is_one_that_the_fleet_exceeds() -> None:
    limit = next(one for one in scenarios(PROCESSES) if one.name == "Rate limit")
    assert limit.trouble is not None
    story = told(limit._replace(seconds=400))
    assert max(story.requests[121:400]) > limit.trouble.limit


def test_a_drawing_shows_every_story() -> None:
    stories = [told(OUTAGE), told(OUTAGE, seed=2)]
    assert drawing_of(stories).count("<polyline") == 2
