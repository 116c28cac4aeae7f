"""The rows of the scheduler's two tables: the states with their transitions, and the holds."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from tests.delivery.rig import Rig, answer
from whisperr._delivery import scheduler
from whisperr._delivery.holds import BLOCKED, PACE, PAUSE, RETRY, Holds
from whisperr._delivery.scheduler import ABANDONED, CLOSED, DRAINING, LEAVING, OPEN

NAMES = {
    OPEN: "open",
    LEAVING: "leaving",
    DRAINING: "draining",
    ABANDONED: "abandoned",
    CLOSED: "closed",
}
Act = Callable[[Rig], None]


def leave(rig: Rig) -> None:
    rig.scheduler.leave()


def close(rig: Rig) -> None:
    rig.scheduler.close(rig.clock.now + 10.0)


def step(rig: Rig) -> None:
    rig.scheduler.step()


def track(rig: Rig) -> None:
    rig.track(1)


def wait_for_the_deadline(rig: Rig) -> None:
    rig.clock.advance(10.0)
    rig.scheduler.step()


def abandon(rig: Rig) -> None:
    rig.scheduler.abandon()


# What leads to the state before, what happens then, the state after it.
ROWS: dict[str, tuple[list[Act], list[Act], int]] = {
    "open, leave": ([], [leave], LEAVING),
    "open, close": ([], [close], DRAINING),
    "leaving, close": ([leave], [close], DRAINING),
    "leaving, all settled": ([track, leave, step], [step], CLOSED),
    "draining, all settled": ([track, close, step], [step], CLOSED),
    "draining, the deadline": ([track, close], [wait_for_the_deadline], CLOSED),
    "open, abandon": ([track], [abandon], CLOSED),
    "leaving, abandon": ([track, leave], [abandon], CLOSED),
    "draining, abandon": ([track, close], [abandon], CLOSED),
}


class TestStates:
    @pytest.mark.parametrize("row", ROWS)
    def test_a_row_of_the_table(self, row: str) -> None:
        before, event, after = ROWS[row]
        rig = Rig()
        for act in before:
            act(rig)
        assert NAMES[rig.scheduler.state] == row.split(",", maxsplit=1)[0]
        for act in event:
            act(rig)
        assert NAMES[rig.scheduler.state] == NAMES[after]

    @pytest.mark.parametrize("reply", [answer(401), answer(503, retry_after="20")])
    def test_a_wait_that_reaches_the_deadline_abandons_the_rest(self, reply: object) -> None:
        rig = Rig(reply)  # type: ignore[arg-type]  # one reply
        for act in (track, close, step, step):
            act(rig)
        assert rig.scheduler.state == CLOSED
        assert rig.dropped == {"shutdown": 1}

    def test_while_the_rest_is_dropped_the_state_is_abandoned(self) -> None:
        seen: list[int] = []
        rig = Rig()
        rig.track(1)
        rig.on_report = lambda: seen.append(rig.scheduler.state)
        rig.scheduler.abandon()
        assert (seen, rig.scheduler.state) == ([ABANDONED], CLOSED)

    @pytest.mark.parametrize("late", [leave, close, abandon, step])
    def test_no_state_is_left_for_an_earlier_one(self, late: Act) -> None:
        rig = Rig()
        rig.scheduler.abandon()
        late(rig)
        assert rig.scheduler.state == CLOSED

    @pytest.mark.parametrize(
        ("state", "closing", "abandoned", "ended"),
        [
            (OPEN, False, False, False),
            (LEAVING, False, False, False),
            (DRAINING, True, False, False),
            (CLOSED, True, True, True),
        ],
    )
    def test_what_a_state_means(
        self, state: int, closing: bool, abandoned: bool, ended: bool
    ) -> None:
        rig = Rig()
        reach: dict[int, Act] = {LEAVING: leave, DRAINING: close, CLOSED: abandon}
        if state in reach:
            reach[state](rig)
        one = rig.scheduler
        assert (one.state, one.closing, one.abandoned, one.ended) == (
            state,
            closing,
            abandoned,
            ended,
        )

    def test_the_docstring_has_these_rows(self) -> None:
        table = (scheduler.__doc__ or "").split("next\n")[1].split("\n\n")[0]
        states = re.findall(r"^    (\w+) .*  (\w+)$", table, re.MULTILINE)
        tested = {(row.split(",")[0], NAMES[after]) for row, (_, _, after) in ROWS.items()}
        assert {(old, new) for old, new in states if old in {"open", "leaving"}} <= {
            (old, "abandoned" if new == "closed" else new) for old, new in tested
        }
        assert len(states) == 9


class TestHolds:
    @pytest.mark.parametrize(
        ("kind", "stopped"),
        [
            (PACE, {"a few events"}),
            (PAUSE, {"a few events", "all of them"}),
            (RETRY, {"a few events", "all of them", "a flush of them"}),
            (BLOCKED, {"a few events", "all of them", "a flush of them", "a shutdown"}),
        ],
    )
    def test_a_stronger_hold_stops_more(self, kind: int, stopped: set[str]) -> None:
        def sends(number: int, then: Act) -> bool:
            rig = Rig()
            rig.scheduler._holds.set(kind, rig.clock.now + 60.0)
            rig.track(*range(number))
            then(rig)
            rig.scheduler.step()
            return bool(rig.sent)

        tried = {
            "a few events": sends(20, lambda _: None),
            "all of them": sends(500, lambda _: None),
            "a flush of them": sends(1, lambda rig: rig.flush()),
            "a shutdown": sends(1, close),
        }
        assert {name for name, sent in tried.items() if not sent} == stopped

    def test_each_kind_lasts_as_long_as_it_was_set(self) -> None:
        holds = Holds()
        holds.set(PAUSE, 30.0)
        holds.set(BLOCKED, 1.0)
        assert [holds.until(kind) for kind in (PACE, PAUSE, RETRY, BLOCKED)] == [0, 30, 0, 1]
        assert [holds.until_from(kind) for kind in (PACE, PAUSE, RETRY, BLOCKED)] == [30, 30, 1, 1]

    def test_a_shutdown_ends_all_but_the_strongest(self) -> None:
        holds = Holds()
        for kind in (PACE, PAUSE, RETRY, BLOCKED):
            holds.set(kind, 9.0)
        holds.end_below(BLOCKED)
        assert [holds.until(kind) for kind in (PACE, PAUSE, RETRY, BLOCKED)] == [0, 0, 0, 9]

    def test_the_docstring_names_the_kinds_in_their_order(self) -> None:
        table = (scheduler.__doc__ or "").split("stops\n")[1].split("\n\n")[0]
        assert re.findall(r"^    (\w+)  ", table, re.MULTILINE) == [
            "pace",
            "pause",
            "retry",
            "blocked",
        ]
