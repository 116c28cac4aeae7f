"""Whatever fails: everything accepted arrives, once, in order, and is counted.

A short soak runs with the tests. WHISPERR_SOAK_SECONDS makes it a long one, with successive seeds
from WHISPERR_SOAK_SEED (1).
"""

from __future__ import annotations

import os

import pytest

from whisperr import Stats

from .figures import Call, Figures, Received, compare
from .soak import Plan, Round, get_repeat_hint, run_soak

SECONDS = float(os.environ.get("WHISPERR_SOAK_SECONDS", "0"))
SEED = int(os.environ.get("WHISPERR_SOAK_SEED", "1"))

SHORT = [
    # With waits between retries few faults fit into a short round...
    Plan(SEED, seconds=3.5, events=2_000, fault_rate=0.15, options={"max_retries": 3}),
    # ...and many when the client gives up at once and a flush ends the pause.
    Plan(SEED, seconds=2.0, events=1_200, fault_rate=0.6, options={"max_retries": 0}),
]


@pytest.mark.parametrize("plan", SHORT, ids=["with retries", "with pauses"])
def test_everything_arrives_once_and_in_order(plan: Plan) -> None:
    figures = Round(plan).run()
    assert not figures.failed, f"seed {plan.seed}: {figures}; {get_repeat_hint(plan.seed)}"
    assert figures.events + figures.identifies == plan.events
    assert sum(figures.faults.values()) > 0  # how many depends on how fast the machine is
    assert figures.duplicates + figures.retries + figures.pauses > 0


@pytest.mark.skipif(not SECONDS, reason="only with WHISPERR_SOAK_SECONDS")
def test_a_long_soak_loses_doubles_and_reorders_nothing() -> None:
    total, seeds = run_soak(SEED, SECONDS, lambda _: None)
    assert not total.failed, f"seed {seeds[-1]}: {total}; {get_repeat_hint(seeds[-1])}"


CALLS: list[list[Call]] = [[(0, "a"), (1, None), (2, "b")], [(0, "c")]]
ARRIVED = [
    Received(1, "accepted", 0, 0, "a"),
    Received(2, "accepted", 1, 0, "c"),
    Received(3, "accepted", 0, 1, None),
    Received(4, "duplicate", 0, 0, "a"),
    Received(5, "accepted", 0, 1, None),
    Received(6, "accepted", 0, 2, "b"),
]
COUNTED = Stats(accepted=4, delivered=4, requests=6, retries=2)


class TestComparison:
    def test_a_complete_delivery_has_no_failures(self) -> None:
        figures = compare(CALLS, ARRIVED, COUNTED)
        assert figures == Figures(events=3, identifies=1, requests=6, retries=2, duplicates=2)
        assert not figures.failed

    @pytest.mark.parametrize(
        ("arrivals", "field", "count"),
        [
            (ARRIVED[:-1], "lost", 1),
            (ARRIVED[1:3] + ARRIVED[5:], "lost", 1),
            ([*ARRIVED, Received(7, "accepted", 0, 2, "b")], "doubled", 1),
            ([ARRIVED[5], *ARRIVED[:5]], "out_of_order", 2),
        ],
    )
    def test_each_failure_is_counted(
        self, arrivals: list[Received], field: str, count: int
    ) -> None:
        figures = compare(CALLS, arrivals, COUNTED)
        assert getattr(figures, field) == count
        assert figures.failed

    @pytest.mark.parametrize(
        "received",
        [
            Received(7, "refused", 0, 2, "b"),
            Received(7, "accepted", 0, 2, "x"),
            Received(7, "accepted", 0, 9, "b"),
            Received(7, "accepted", -1, -1, None),
        ],
    )
    def test_an_arrival_that_was_not_sent_is_a_problem(self, received: Received) -> None:
        assert compare(CALLS, [*ARRIVED, received], COUNTED).problems

    @pytest.mark.parametrize(
        "stats",
        [
            Stats(accepted=4, delivered=3, held=1),
            Stats(accepted=5, delivered=5),
            Stats(accepted=4, delivered=4, held_bytes=1),
            Stats(accepted=4, delivered=4, dropped={"queue_full": 1}),
            Stats(accepted=4, delivered=4, not_accepted={"invalid": 1}),
        ],
    )
    def test_counts_that_do_not_add_up_are_a_problem(self, stats: Stats) -> None:
        assert compare(CALLS, ARRIVED, stats).problems

    def test_rounds_are_summed(self) -> None:
        one = Figures(events=2, faults={"reset": 1}, problems=["a"])
        two = Figures(events=3, faults={"reset": 2, "drip": 1}, problems=["b"])
        assert one + two == Figures(events=5, faults={"reset": 3, "drip": 1}, problems=["a", "b"])
