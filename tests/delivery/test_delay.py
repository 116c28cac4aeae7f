"""When reports say that delivery fails, and that it works again."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from tests.delivery.rig import Rig, answer, event
from whisperr._contract import Answer
from whisperr._delivery.delay import Delay

REFUSED = OSError("refused")
PAGE = Answer(200, {"content-type": "text/html"}, b"<html>")


class TestDelay:
    @pytest.mark.parametrize(
        ("patiences", "reports"),
        [
            ([1], [True]),
            ([2], [False]),
            ([2, 2], [False, True]),
            ([3, 3, 3], [False, False, True]),
            ([3, 2], [False, True]),
            ([3, 1], [False, True]),
        ],
    )
    def test_a_failure_is_reported_after_its_number_of_failures_in_a_row(
        self, patiences: list[int], reports: list[bool]
    ) -> None:
        delay = Delay()
        assert [delay.note_failure(patience, 5.0) for patience in patiences] == reports

    def test_one_outage_is_reported_once_in_ten_minutes(self) -> None:
        delay = Delay()
        reported = []
        for now in range(0, 1_500, 30):
            if delay.note_failure(1, float(now)):
                delay.note_report(float(now))
                reported.append(now)
        assert reported == [0, 600, 1_200]

    def test_outages_that_come_and_go_are_reported_once_a_minute(self) -> None:
        delay = Delay()
        reported = []
        for now in range(0, 200, 5):
            if delay.note_failure(1, float(now)):
                delay.note_report(float(now))
                reported.append(now)
            delay.note_success(now + 1.0)
        assert reported == [0, 60, 120, 180]

    def test_a_success_after_a_report_says_how_long_it_took(self) -> None:
        delay = Delay()
        assert delay.note_success(1.0) is None
        delay.note_failure(3, 10.0)
        assert delay.note_success(11.0) is None  # it was not reported
        delay.note_failure(1, 20.0)
        delay.note_report(20.0)
        assert delay.note_success(72.0) == 52.0
        assert delay.note_success(73.0) is None


class TestReports:
    @pytest.mark.parametrize(
        ("reply", "at"),
        [
            (PAGE, [0.0]),
            (answer(302), [0.0]),
            (REFUSED, [1.0]),  # of an unknown transport
            (TimeoutError("slow"), [1.0]),
            (answer(408), [1.0]),
            (answer(429), [3.0]),
            (answer(500), [3.0]),
            (answer(503), [3.0]),
        ],
    )
    def test_a_failure_is_reported_long_before_delivery_gives_up(
        self, reply: Any, at: list[float]
    ) -> None:
        rig = Rig()
        rig.transport.otherwise = reply
        rig.track(1, 2, 3)
        rig.flush()
        rig.advance(30)
        assert rig.reports == [("delayed", None, 3)]
        assert rig.reported_at == at
        assert "; 3 events kept, next attempt in " in rig.errors[0].message

    @pytest.mark.parametrize("reply", [answer(503), answer(429), TimeoutError("slow"), REFUSED])
    def test_one_failure_that_heals_is_not_reported(
        self, reply: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO, "whisperr")
        rig = Rig(reply)
        rig.track(1)
        rig.flush()
        rig.advance(30)
        assert (rig.reports, caplog.messages, rig.accepted) == ([], [], [1])

    def test_the_report_counts_all_waiting_events(self) -> None:
        rig = Rig(PAGE, max_batch_size=2)
        rig.track(*range(5))
        rig.flush()
        rig.advance()
        assert rig.reports == [("delayed", None, 5)]

    def test_the_end_of_an_outage_is_logged_once_for_information(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO, "whisperr")
        rig = Rig(*[answer(500)] * 5, max_batch_size=1)
        rig.track(1, 2)
        rig.flush()
        rig.advance(60)
        assert rig.accepted == [1, 2]
        first, last = caplog.records
        assert first.levelname == "WARNING"
        assert (last.levelname, last.getMessage()) == (
            "INFO",
            "whisperr: delivering to the server again after 31 s",
        )

    def test_a_give_up_is_reported_after_the_delay_and_recovers_as_well(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO, "whisperr")
        rig = Rig(*[answer(500)] * 7, random=0.0)
        rig.track(1)
        rig.flush()
        rig.advance(100)
        assert [kind for kind, *_ in rig.reports] == ["delayed", "retry_exhausted"]
        assert "; 1 event kept, next attempt in 30 s; " in rig.errors[1].message
        assert rig.accepted == [1]
        assert caplog.messages[-1].startswith("whisperr: delivering to the server again after ")

    def test_an_outage_of_an_hour_gives_few_reports_and_not_one_for_each_retry(
        self,
    ) -> None:
        rig = Rig()
        rig.transport.otherwise = answer(503)
        rig.track(1)
        rig.advance(3_600)
        kinds = [kind for kind, *_ in rig.reports]
        assert kinds.count("delayed") == 1
        assert len(kinds) < len(rig.sent) / 4

    def test_a_shutdown_says_why_the_events_were_not_delivered(self) -> None:
        rig = Rig()
        rig.transport.otherwise = OSError("no route")
        rig.track(1, 2)
        rig.close(2.0)
        rig.advance(3.0)
        assert rig.dropped == {"shutdown": 2}
        gave_up, lost = rig.errors[-2:]
        assert gave_up.type == "retry_exhausted"
        assert "; 2 events not delivered before the shutdown ends" in gave_up.message
        cause = (
            "not delivered before shutdown ended; no answer: OSError: no route; 2 events dropped"
        )
        assert lost.message.startswith(cause)

    def test_a_full_queue_names_the_failure_that_filled_it(self) -> None:
        rig = Rig(max_queue_size=2)
        rig.transport.otherwise = answer(401)
        rig.track(1)
        rig.flush()
        rig.advance()
        for number in range(2, 9):
            dropped = rig.queue.put(event(number))
            rig.put_count += 1
            rig.accounting.lost(dropped, "queue_full", "the queue was full")
        rig.accounting.reporter.emit(rig.clock.now)
        assert rig.errors[-1].message.startswith(
            "the queue was full; the server refused the API key (HTTP 401); 6 events dropped"
        )
