"""The counts and their invariant; losses are counted and reported in one call."""

from __future__ import annotations

import inspect
import pickle
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scripts.public_api import get_documented

from whisperr import Stats
from whisperr._delivery.accounting import ClientAccounting
from whisperr._delivery.reporter import Reporter
from whisperr._queue.memory import Foreign
from whisperr.errors import Loss, WhisperrError

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
    "lost_in_store",
)
NEVER_ACCEPTED: tuple[Reason, ...] = ("invalid", "vetoed", "closed", "not_stored")


class Scene:
    """An accounting whose reports are collected when they are emitted."""

    def __init__(self, accepted: int = 0) -> None:
        self.errors: list[WhisperrError] = []
        self.notified: list[bool] = []
        self.accounting = ClientAccounting(Reporter(self.errors.append, self.notified.append))
        for _ in range(accepted):
            self.accounting.accept()

    @property
    def stats(self) -> Stats:
        return self.accounting.stats(0, "running", None)

    def lose(self, reason: Reason, count: int) -> None:
        """Lose events, or count calls that were not accepted, for this reason."""
        if reason in NEVER_ACCEPTED:
            for _ in range(count):
                self.accounting.not_accepted(reason, "why")
        else:
            self.accounting.lost([b"{}"] * count, reason, "why")

    @property
    def reports(self) -> list[tuple[str, str | None, str, int, int]]:
        """Emit all reports; return type, reason, cause, count and number of events of each."""
        self.accounting.reporter.emit(0.0, everything=True)
        said = [e.message.partition(";")[0] for e in self.errors]
        return [
            (e.type, e.reason, text, e.count, len(e.events))
            for e, text in zip(self.errors, said, strict=True)
        ]


class TestCounts:
    def test_at_first_everything_is_zero(self) -> None:
        assert Scene().stats == Stats()

    def test_what_was_accepted_is_held_until_it_ends(self) -> None:
        scene = Scene(10)
        scene.accounting.settled([b"{}"] * 5, Loss(1, "rejected"))
        stats = scene.stats
        assert (stats.accepted, stats.delivered, stats.held) == (10, 4, 5)

    @pytest.mark.parametrize("reason", DROPPED)
    def test_a_drop_is_counted_by_its_reason_and_no_longer_held(self, reason: Reason) -> None:
        scene = Scene(3)
        scene.lose(reason, 1)
        scene.lose(reason, 1)
        stats = scene.stats
        assert (stats.dropped, stats.not_accepted, stats.held) == ({reason: 2}, {}, 1)

    @pytest.mark.parametrize("reason", NEVER_ACCEPTED)
    def test_a_call_that_was_not_accepted_is_neither_dropped_nor_missing(
        self, reason: Reason
    ) -> None:
        scene = Scene(3)
        scene.lose(reason, 2)
        stats = scene.stats
        assert (stats.dropped, stats.not_accepted, stats.held) == ({}, {reason: 2}, 3)

    def test_reasons_without_a_count_are_left_out(self) -> None:
        scene = Scene(1)
        scene.lose("expired", 0)
        assert scene.stats.dropped == {}

    def test_requests_and_those_that_repeat_one_are_counted(self) -> None:
        scene = Scene()
        for again in (False, True, True, False):
            scene.accounting.requested(again=again)
        stats = scene.stats
        assert (stats.requests, stats.retries) == (4, 2)

    def test_the_state_of_the_moment_is_passed_on(self) -> None:
        stats = Scene().accounting.stats(77, "paused", "HTTP 503")
        assert (stats.held_bytes, stats.state, stats.problem) == (77, "paused", "HTTP 503")

    def test_a_snapshot_does_not_change_later(self) -> None:
        scene = Scene(1)
        before = scene.stats
        scene.accounting.accept()
        scene.lose("queue_full", 1)
        assert (before.accepted, before.dropped) == (1, {})

    @SAME_EACH_TIME
    @given(st.lists(st.sampled_from(["accept", "deliver", *DROPPED, *NEVER_ACCEPTED])))
    def test_accepted_is_delivered_and_dropped_and_held_at_every_moment(
        self, acts: list[Literal["accept", "deliver"] | Reason]
    ) -> None:
        scene = Scene()
        held = 0
        for act in acts:
            if act == "accept":
                scene.accounting.accept()
                held += 1
            elif act in NEVER_ACCEPTED:
                scene.lose(act, 1)
            elif held and act == "deliver":
                scene.accounting.settled([b"{}"], None)
                held -= 1
            elif held and act != "deliver":
                scene.lose(act, 1)
                held -= 1
            stats = scene.stats
            assert stats.held == held
            assert stats.accepted == stats.delivered + sum(stats.dropped.values()) + stats.held


class TestLosses:
    """Every loss is counted and reported by one call."""

    def test_dropped_events_are_counted_and_reported(self) -> None:
        scene = Scene(2)
        scene.accounting.lost([b'{"n":1}', b'{"n":2}'], "expired", "too old")
        assert scene.stats.dropped == {"expired": 2}
        assert scene.reports == [("dropped", "expired", "too old", 2, 2)]

    def test_no_events_are_no_loss(self) -> None:
        scene = Scene()
        scene.accounting.lost([], "expired", "too old")
        assert (scene.reports, scene.notified) == ([], [])

    def test_events_of_other_processes_are_reported_and_counted_there(self) -> None:
        scene = Scene(1)
        scene.accounting.lost([b'{"n":1}', Foreign(b'{"n":2}')], "queue_full", "full")
        assert scene.stats.dropped == {"queue_full": 1}
        assert scene.reports == [("dropped", "queue_full", "full", 2, 2)]

    @pytest.mark.parametrize(("refused", "shown"), [(1, 0), (2, 2)])
    def test_events_of_a_batch_are_shown_when_it_is_known_which(
        self, refused: int, shown: int
    ) -> None:
        scene = Scene(2)
        scene.accounting.settled([b"{}", b"{}"], Loss(refused, "refused_in_batch", "why", 202))
        assert scene.stats.dropped == {"refused_in_batch": refused}
        assert scene.stats.delivered == 2 - refused
        assert scene.reports == [("dropped", "refused_in_batch", "why", refused, shown)]

    def test_a_call_that_became_no_event_is_counted_and_reported(self) -> None:
        scene = Scene()
        scene.accounting.not_accepted("invalid", "track: no user")
        assert scene.stats.not_accepted == {"invalid": 1}
        assert scene.reports == [("dropped", "invalid", "track: no user", 1, 0)]

    def test_a_veto_is_counted_and_not_reported(self) -> None:
        scene = Scene()
        scene.accounting.vetoed()
        assert scene.stats.not_accepted == {"vetoed": 1}
        assert scene.reports == []

    def test_a_give_up_is_reported_and_loses_nothing(self) -> None:
        scene = Scene(3)
        scene.accounting.failing("auth", "HTTP 401", 401, 3)
        assert scene.stats.held == 3
        assert scene.reports == [("auth", None, "HTTP 401", 3, 0)]

    @pytest.mark.parametrize("outcome", ["delivered", "rejected"])
    def test_events_settled_by_another_process_are_counted_and_not_reported(
        self, outcome: str
    ) -> None:
        scene = Scene(2)
        scene.accounting.settled_elsewhere(outcome, 2)
        assert (scene.stats.held, scene.reports) == (0, [])

    @pytest.mark.parametrize(
        ("outcome", "counted"),
        [
            ("rejected", "rejected"),
            ("over_quota", "over_quota"),  # of a newer version
            ("invalid", "lost_in_store"),  # none that an accepted event can have
            ("", "lost_in_store"),
            ("x" * 1_000, "lost_in_store"),
            ("a b", "lost_in_store"),
            ("\ufffd", "lost_in_store"),
        ],
    )
    def test_any_outcome_in_a_store_is_counted(self, outcome: str, counted: str) -> None:
        scene = Scene(accepted=3)
        scene.accounting.settled_elsewhere(outcome, 2)
        assert (scene.stats.dropped, scene.stats.held) == ({counted: 2}, 1)

    def test_the_number_of_unknown_outcomes_is_bounded(self) -> None:
        scene = Scene(accepted=1_000)
        for number in range(1_000):
            scene.accounting.settled_elsewhere(f"reason_{number}", 1)
        assert scene.stats.held == 0
        assert len(scene.stats.dropped) < 40

    def test_events_lost_in_a_store_are_counted_and_reported_in_one_call(self) -> None:
        scene = Scene(accepted=5)
        scene.accounting.lost_in_store(2, "gone", others=1)
        scene.accounting.reporter.emit(0.0)
        assert (scene.stats.dropped, scene.stats.held) == ({"lost_in_store": 2}, 3)
        assert scene.reports == [("dropped", "lost_in_store", "gone", 3, 0)]

    def test_the_problem_of_a_store_is_shown_until_it_works(self) -> None:
        scene = Scene()
        scene.accounting.store_problem("the file is locked")
        assert scene.stats.problem == "the file is locked"
        scene.accounting.store_problem(None)
        assert scene.stats.problem is None

    def test_only_the_first_report_of_a_kind_asks_to_be_emitted_at_once(self) -> None:
        scene = Scene(3)
        scene.lose("expired", 1)
        scene.lose("expired", 1)
        scene.lose("rejected", 1)
        assert scene.notified == [True, False, True]


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
    unstored=1,
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
        assert get_documented(inspect.getdoc(Stats) or "") == list(Stats.__slots__)
        assert list(inspect.signature(Stats).parameters) == list(Stats.__slots__)


class TestDeadLetters:
    def test_a_dead_letter_counts_as_dropped_and_the_report_names_it(self) -> None:
        scene = Scene(5)
        scene.accounting.settled([b"{}"] * 3, Loss(1, "rejected", "why", 400), kept="kept; look")
        scene.accounting.lost([b"{}"], "expired", "old", kept="kept; look")
        scene.accounting.reporter.emit(0.0, everything=True)
        assert [one.message for one in scene.errors] == [
            "why; 1 event dropped (rejected); kept; look",
            "old; 1 event dropped (expired); kept; look",
        ]
        stats = scene.stats
        assert stats.dropped == {"rejected": 1, "expired": 1}
        assert stats.accepted == stats.delivered + sum(stats.dropped.values()) + stats.held

    def test_a_summary_says_how_many_could_not_be_kept(self) -> None:
        scene = Scene(3)
        loss = Loss(1, "rejected", "why", 400)
        scene.accounting.settled([b"{}"], loss, kept="kept; look")
        scene.accounting.settled([b"{}"], loss, kept="")
        scene.accounting.reporter.emit(0.0, everything=True)
        (one,) = scene.errors
        assert one.message == (
            "why; 2 events dropped (rejected), 1 of them with other messages; kept; look"
        )
