"""Beside steps 3 to 5: what the counts say, and the law that they obey."""

from __future__ import annotations

import inspect
import pickle
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whisperr import Stats
from whisperr._delivery.accounting import Ledger

if TYPE_CHECKING:
    from typing import Literal

    from whisperr.errors import Reason

SAME_EACH_TIME = settings(derandomize=True, database=None, deadline=None)

DROPPED: tuple[Reason, ...] = (
    "queue_full",
    "rejected",
    "refused_in_batch",
    "too_large",
    "expired",
    "shutdown",
)
NEVER_ACCEPTED: tuple[Reason, ...] = ("invalid", "vetoed", "closed", "not_stored")


def stats_of(ledger: Ledger) -> Stats:
    return ledger.stats(0, "running", None)


def accepting(count: int) -> Ledger:
    ledger = Ledger()
    for _ in range(count):
        ledger.accept()
    return ledger


class TestLedger:
    def test_at_first_everything_is_zero(self) -> None:
        assert stats_of(Ledger()) == Stats()

    def test_what_was_accepted_is_held_until_it_ends(self) -> None:
        ledger = accepting(10)
        ledger.deliver(4)
        ledger.drop("rejected", 1)
        stats = stats_of(ledger)
        assert (stats.accepted, stats.delivered, stats.held) == (10, 4, 5)

    @pytest.mark.parametrize("reason", DROPPED)
    def test_a_drop_is_counted_by_its_reason_and_no_longer_held(self, reason: Reason) -> None:
        ledger = accepting(3)
        ledger.drop(reason, 1)
        ledger.drop(reason, 1)
        stats = stats_of(ledger)
        assert (stats.dropped, stats.not_accepted, stats.held) == ({reason: 2}, {}, 1)

    @pytest.mark.parametrize("reason", NEVER_ACCEPTED)
    def test_what_never_was_accepted_is_neither_dropped_nor_missing(self, reason: Reason) -> None:
        ledger = accepting(3)
        ledger.drop(reason, 2)
        stats = stats_of(ledger)
        assert (stats.dropped, stats.not_accepted, stats.held) == ({}, {reason: 2}, 3)

    def test_reasons_without_a_count_are_left_out(self) -> None:
        ledger = accepting(1)
        ledger.drop("expired", 0)
        assert stats_of(ledger).dropped == {}

    def test_requests_and_those_that_repeat_one_are_counted(self) -> None:
        ledger = Ledger()
        for again in (False, True, True, False):
            ledger.request(again=again)
        stats = stats_of(ledger)
        assert (stats.requests, stats.retries) == (4, 2)

    def test_what_it_is_told_of_the_moment_is_passed_on(self) -> None:
        stats = Ledger().stats(77, "paused", "HTTP 503")
        assert (stats.held_bytes, stats.state, stats.problem) == (77, "paused", "HTTP 503")

    def test_a_snapshot_does_not_change_later(self) -> None:
        ledger = accepting(1)
        before = stats_of(ledger)
        ledger.accept()
        ledger.drop("queue_full", 1)
        assert (before.accepted, before.dropped) == (1, {})

    @SAME_EACH_TIME
    @given(st.lists(st.sampled_from(["accept", "deliver", *DROPPED, *NEVER_ACCEPTED])))
    def test_accepted_is_delivered_and_dropped_and_held_at_every_moment(
        self, acts: list[Literal["accept", "deliver"] | Reason]
    ) -> None:
        ledger = Ledger()
        held = 0
        for act in acts:
            if act == "accept":
                ledger.accept()
                held += 1
            elif act in NEVER_ACCEPTED:
                ledger.drop(act, 1)
            elif held and act == "deliver":
                ledger.deliver(1)
                held -= 1
            elif held and act != "deliver":
                ledger.drop(act, 1)
                held -= 1
            stats = stats_of(ledger)
            assert stats.held == held
            assert stats.accepted == stats.delivered + sum(stats.dropped.values()) + stats.held


FULL = Stats(
    accepted=10,
    delivered=4,
    dropped={"rejected": 1},
    held=5,
    held_bytes=500,
    not_accepted={"invalid": 2},
    problem="HTTP 503",
    requests=7,
    retries=3,
    state="paused",
    stored=4,
)


class TestStats:
    def test_they_can_be_pickled(self) -> None:
        assert pickle.loads(pickle.dumps(FULL)) == FULL

    @pytest.mark.parametrize("name", Stats.__slots__)
    def test_no_count_can_be_changed(self, name: str) -> None:
        with pytest.raises(AttributeError, match=f"Stats.{name} cannot be changed"):
            setattr(FULL, name, 0)

    @pytest.mark.parametrize("name", Stats.__slots__)
    def test_any_difference_makes_them_unequal(self, name: str) -> None:
        fields = {slot: getattr(FULL, slot) for slot in Stats.__slots__}
        assert Stats(**fields) == FULL
        assert Stats(**{**fields, name: getattr(Stats(state="closed"), name)}) != FULL

    def test_they_keep_their_own_copy_of_the_counts_by_reason(self) -> None:
        given_counts = {"rejected": 1}
        stats = Stats(dropped=given_counts)
        given_counts["rejected"] = 2
        assert stats.dropped == {"rejected": 1}

    def test_every_field_can_be_read_in_their_text(self) -> None:
        text = repr(FULL)
        assert all(f"{name}={getattr(FULL, name)!r}" in text for name in Stats.__slots__)

    def test_their_fields_are_what_their_documentation_names(self) -> None:
        documented = inspect.getdoc(Stats) or ""
        assert [name for name in Stats.__slots__ if f"`{name}`" not in documented] == []
        assert list(inspect.signature(Stats).parameters) == list(Stats.__slots__)
