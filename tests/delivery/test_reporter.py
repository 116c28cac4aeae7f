"""The reports about losses and pauses: their text, where they are made, and how often."""

from __future__ import annotations

import gc
import logging
from typing import TYPE_CHECKING, Any

import pytest

from whisperr._delivery.reporter import Reporter
from whisperr._process.logger import log, log_to_stderr, logger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from whisperr import WhisperrError

MEBIBYTE = 1024 * 1024


class Scene:
    """A reporter and what it passed to `on_error`."""

    def __init__(self) -> None:
        self.errors: list[WhisperrError] = []
        self.reporter = Reporter(self.errors.append)

    def drop(self, count: int = 1, message: str = "gone", **more: Any) -> None:
        more.setdefault("reason", "rejected")
        self.reporter.add("dropped", message, count=count, **more)

    @property
    def counts(self) -> list[int]:
        return [error.count for error in self.errors]


def get_lines(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    return [(record.levelname, record.getMessage()) for record in caplog.records]


class TestSummary:
    def test_nothing_is_reported_before_emit(self, caplog: pytest.LogCaptureFixture) -> None:
        scene = Scene()
        scene.drop()
        assert (scene.errors, caplog.records) == ([], [])

    def test_the_first_report_is_emitted_at_once(self) -> None:
        scene = Scene()
        scene.drop()
        scene.reporter.emit(0.0)
        assert scene.counts == [1]

    def test_what_was_reported_is_not_reported_again(self) -> None:
        scene = Scene()
        scene.drop()
        for now in (5.0, 7.0, 9.0):
            scene.reporter.emit(now)
        assert scene.counts == [1]

    @pytest.mark.parametrize(
        ("later", "counts"), [(0.0, [1]), (0.5, [1]), (0.999, [1]), (1.0, [1, 3]), (9.0, [1, 3])]
    )
    def test_one_reason_is_reported_once_a_second_with_the_count(
        self, later: float, counts: list[int], caplog: pytest.LogCaptureFixture
    ) -> None:
        scene = Scene()
        scene.drop()
        scene.reporter.emit(100.0)
        for _ in range(3):
            scene.drop()
        scene.reporter.emit(100.0 + later)
        assert scene.counts == counts
        assert len(caplog.records) == len(counts)

    def test_a_flood_is_a_few_reports_and_no_event_is_missing_in_them(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        scene = Scene()
        for number in range(60_000):
            scene.drop()
            scene.reporter.emit(number / 20_000)
        scene.reporter.emit(3.0)
        assert scene.counts == [1, 20_000, 20_000, 19_999]
        assert len(caplog.records) == 4

    def test_different_reasons_do_not_wait_for_each_other(self) -> None:
        scene = Scene()
        scene.drop(2, reason="rejected")
        scene.reporter.emit(100.0)
        scene.drop(3, reason="queue_full")
        scene.reporter.add("auth", "HTTP 401", status=401, count=4)
        scene.reporter.emit(100.1)
        assert [(error.type, error.reason, error.count) for error in scene.errors] == [
            ("dropped", "rejected", 2),
            ("dropped", "queue_full", 3),
            ("auth", None, 4),
        ]

    def test_the_first_message_and_status_of_a_summary_stand_and_others_are_named(self) -> None:
        scene = Scene()
        scene.drop(1, "HTTP 404", status=404)
        scene.drop(2, "HTTP 410", status=410)
        scene.drop(1, "HTTP 404", status=404)
        scene.reporter.emit(0.0)
        (error,) = scene.errors
        assert (error.status, error.count) == (404, 4)
        start = "HTTP 404; 4 events dropped (rejected), 2 of them with other messages; "
        assert error.message.startswith(start)

    def test_of_kept_events_the_latest_count_is_reported(self) -> None:
        scene = Scene()
        for count, then in ((4, "kept, next attempt in 1 s"), (7, "kept, next attempt in 9 s")):
            scene.reporter.add("delayed", "away", count=count, then=then)
        scene.reporter.emit(0.0)
        assert scene.counts == [7]
        assert scene.errors[0].message == "away; 7 events kept, next attempt in 9 s"

    @pytest.mark.parametrize(
        ("reason", "start"),
        [
            ("queue_full", "full; cannot reach collect:443 (connection refused); 1 event dropped"),
            ("shutdown", "full; cannot reach collect:443 (connection refused); 1 event dropped"),
            ("rejected", "full; 1 event dropped"),
        ],
    )
    def test_a_loss_caused_by_failing_delivery_names_the_failure(
        self, reason: str, start: str
    ) -> None:
        scene = Scene()
        scene.reporter.cause = "cannot reach collect:443 (connection refused)"
        scene.drop(1, "full", reason=reason)
        scene.reporter.emit(0.0)
        assert scene.errors[0].message.startswith(start)

    @pytest.mark.parametrize(
        ("remedy", "step"),
        [("correct the key", "correct the key"), ("", "raise max_queue_size if")],
    )
    def test_its_next_step_is_that_of_the_failure_where_there_is_one(
        self, remedy: str, step: str
    ) -> None:
        scene = Scene()
        scene.reporter.cause, scene.reporter.remedy = "the key is refused", remedy
        scene.drop(1, "full", reason="queue_full")
        scene.reporter.emit(0.0)
        assert (
            f"the key is refused; 1 event dropped (queue_full); {step}" in scene.errors[0].message
        )

    def test_a_loss_with_a_cause_of_its_own_does_not_name_the_failure(self) -> None:
        scene = Scene()
        scene.reporter.cause = "cannot reach collect:443 (connection refused)"
        scene.drop(1, "waited", reason="shutdown", then="commit first")
        scene.drop(1, "not delivered", reason="shutdown")
        scene.reporter.emit(0.0)
        assert scene.errors[0].message == (
            "waited; 2 events dropped (shutdown), 1 of them with other messages; commit first"
        )

    @pytest.mark.parametrize(("quiet", "level"), [(True, "DEBUG"), (False, "WARNING")])
    def test_a_quiet_one_is_for_on_error_and_for_debugging(
        self, caplog: pytest.LogCaptureFixture, level: str, *, quiet: bool
    ) -> None:
        caplog.set_level(logging.DEBUG, "whisperr")
        scene = Scene()
        scene.reporter.add("auth", "refused", quiet=quiet)
        scene.reporter.emit(0.0)
        assert scene.counts == [1]
        assert [record.levelname for record in caplog.records] == [level]

    def test_with_everything_no_report_waits(self) -> None:
        scene = Scene()
        scene.drop(1)
        scene.reporter.emit(100.0)
        scene.drop(2)
        scene.drop(3, reason="shutdown")
        scene.reporter.emit(100.0, everything=True)
        assert scene.counts == [1, 2, 3]
        assert scene.reporter.due() is None


class TestDue:
    def test_without_reports_nothing_is_due(self) -> None:
        assert Scene().reporter.due() is None

    def test_the_first_report_is_due_at_once(self) -> None:
        scene = Scene()
        scene.drop()
        due = scene.reporter.due()
        assert due is not None
        assert due <= 0.0

    def test_the_next_one_is_due_a_second_after_the_last(self) -> None:
        scene = Scene()
        scene.drop()
        scene.reporter.emit(100.25)
        assert scene.reporter.due() is None
        scene.drop()
        assert scene.reporter.due() == 101.25

    def test_the_earliest_of_several_decides(self) -> None:
        scene = Scene()
        scene.drop()
        scene.reporter.emit(100.0)
        scene.drop(reason="expired")
        scene.reporter.emit(100.5)
        scene.drop()
        scene.drop(reason="expired")
        assert scene.reporter.due() == 101.0


class TestEvents:
    def test_dropped_events_are_handed_over_decoded_and_in_order(self) -> None:
        scene = Scene()
        scene.drop(2, events=[b'{"n":1}', b'{"n":2}'])
        scene.drop(1, events=[b'{"n":3}'])
        scene.reporter.emit(0.0)
        assert scene.errors[0].events == ({"n": 1}, {"n": 2}, {"n": 3})

    def test_beyond_eight_mebibytes_they_are_counted_only(self) -> None:
        scene = Scene()
        large = b'"' + b"x" * (3 * MEBIBYTE) + b'"'
        event = b'{"e":' + large + b"}"
        for _ in range(4):
            scene.drop(1, events=[event])
        scene.reporter.emit(0.0)
        assert scene.errors[0].count == 4
        assert len(scene.errors[0].events) == 2

    def test_the_next_summary_has_room_again(self) -> None:
        scene = Scene()
        event = b'{"e":"' + b"x" * (5 * MEBIBYTE) + b'"}'
        for now in (0.0, 1.0):
            scene.drop(2, events=[event, event])
            scene.reporter.emit(now)
        assert [len(error.events) for error in scene.errors] == [1, 1]

    def test_without_a_listener_no_event_is_kept(self) -> None:
        reporter = Reporter(None)
        gone: list[str] = []

        class Data(bytes):
            def __del__(self) -> None:
                gone.append("data")

        reporter.add("dropped", "gone", reason="rejected", events=[Data(b'{"n":1}')])
        gc.collect()
        assert gone == ["data"]


class TestLog:
    @pytest.mark.parametrize(
        ("type_", "reason", "count", "line"),
        [
            ("dropped", "queue_full", 1, "why; 1 event dropped (queue_full); raise max_queue_size"),
            ("dropped", "rejected", 60_000, "why; 60000 events dropped (rejected); correct"),
            ("auth", None, 2, 'why; 2 events kept; run "whisperr doctor"'),
            ("retry_exhausted", None, 1, 'why; 1 event kept; run "whisperr doctor"'),
        ],
    )
    def test_a_line_says_what_happened_to_how_many(
        self, type_: Any, reason: Any, count: int, line: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        reporter = Reporter(None)
        reporter.add(type_, "why", reason=reason, count=count)
        reporter.emit(0.0)
        ((level, text),) = get_lines(caplog)
        assert level == "WARNING"
        assert text.startswith(f"whisperr: {line}")
        assert caplog.records[0].name == "whisperr"

    @pytest.mark.parametrize("listener", [None, lambda _: None])
    def test_no_line_holds_a_payload(
        self,
        listener: Callable[[WhisperrError], object] | None,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        reporter = Reporter(listener)
        reporter.add("dropped", "HTTP 404", reason="rejected", events=[b'{"to":"ada@example.com"}'])
        reporter.emit(0.0)
        assert len(caplog.records) == 1
        assert "ada" not in caplog.text

    def test_a_percent_sign_in_a_message_is_no_format(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        reporter = Reporter(None)
        reporter.add("dropped", "100 %s %d", reason="rejected")
        reporter.emit(0.0)
        assert get_lines(caplog)[0][1].startswith("whisperr: 100 %s %d; 1 event dropped (rejected)")

    @pytest.mark.parametrize(
        ("debug", "lines"), [(True, [("DEBUG", "whisperr: request with 3 events")]), (False, [])]
    )
    def test_details_are_for_debugging_only(
        self, debug: bool, lines: list[tuple[str, str]], caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level(logging.DEBUG, "whisperr"):
            Reporter(None, debug=debug).debug("request with %d events", 3)
        assert get_lines(caplog) == lines


class TestListener:
    def test_its_failure_is_logged_with_the_place_and_without_the_text(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        def fail(_: WhisperrError) -> None:
            raise KeyError("ada@example.com")

        reporter = Reporter(fail)
        reporter.add("dropped", "gone", reason="rejected")
        reporter.emit(0.0)
        level, line = get_lines(caplog)[-1]
        assert level == "ERROR"
        assert line.startswith(f"whisperr: on_error raised KeyError at {__file__}:")
        assert "; delivery continues; " in line
        assert "ada" not in caplog.text
        assert caplog.records[-1].exc_info is None

    def test_its_failure_does_not_keep_other_reports_from_being_emitted(self) -> None:
        seen: list[str] = []

        def fail(error: WhisperrError) -> None:
            seen.append(error.message.partition(";")[0])
            raise ValueError

        reporter = Reporter(fail)
        reporter.add("dropped", "first", reason="rejected")
        reporter.add("dropped", "second", reason="expired")
        reporter.emit(0.0)
        assert seen == ["first", "second"]

    def test_a_report_that_it_causes_is_emitted_a_second_later(self) -> None:
        times: list[float] = []

        def lose_again(_: WhisperrError) -> None:
            times.append(now)
            reporter.add("dropped", "again", reason="rejected")

        reporter = Reporter(lose_again)
        reporter.add("dropped", "first", reason="rejected")
        for now in (100.0, 100.5, 101.0, 101.5):
            reporter.emit(now)
        assert times == [100.0, 101.0]

    def test_it_may_ask_for_everything_that_waits(self) -> None:
        seen: list[str] = []

        def ask_for_more(error: WhisperrError) -> None:
            seen.append(error.message.partition(";")[0])
            reporter.emit(0.0, everything=True)

        reporter = Reporter(ask_for_more)
        reporter.add("dropped", "first", reason="rejected")
        reporter.add("dropped", "second", reason="expired")
        reporter.emit(0.0, everything=True)
        assert seen == ["first", "second"]


@pytest.fixture
def plain_logger() -> Iterator[logging.Logger]:
    """Yield the package's logger without handlers, and restore it afterwards."""
    lent = logger()
    handlers, level = list(lent.handlers), lent.level
    lent.handlers.clear()
    yield lent
    lent.handlers[:] = handlers
    lent.setLevel(level)


class TestDebug:
    @pytest.mark.usefixtures("plain_logger")
    def test_it_shows_everything_on_stderr_once(self, capsys: pytest.CaptureFixture[str]) -> None:
        log_to_stderr()
        log_to_stderr()
        log("debug", "one %s", "line")
        (line,) = capsys.readouterr().err.splitlines()
        assert line.endswith(" DEBUG whisperr: one line")
        assert line.count("whisperr") == 1

    def test_a_handler_of_the_application_stays(self, plain_logger: logging.Logger) -> None:
        own = logging.NullHandler()
        plain_logger.addHandler(own)
        log_to_stderr()
        assert own in plain_logger.handlers
        assert len(plain_logger.handlers) == 2
