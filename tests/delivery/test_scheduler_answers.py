"""Refusals drop only bad events, and giving up keeps all."""

from __future__ import annotations

import pytest

from tests.delivery.rig import Rig, answer, event, ok, refuses, takes_at_most
from whisperr._contract import Answer, Misconfigured


class TestRefusals:
    def test_one_bad_event_among_500_costs_one_event(self) -> None:
        rig = Rig()
        rig.transport.otherwise = refuses(321)
        rig.track(*range(500))
        rig.flush()
        rig.advance()
        assert rig.accepted == [number for number in range(500) if number != 321]
        assert rig.dropped == {"rejected": 1}
        assert rig.reports == [("dropped", "rejected", 1)]
        assert [lost["number"] for lost in rig.errors[0].events] == [321]
        assert len(rig.sent) <= 20

    @pytest.mark.parametrize("status", [400, 422])
    def test_halving_keeps_the_order_and_costs_no_good_event(self, status: int) -> None:
        rig = Rig()
        rig.transport.otherwise = refuses(*range(0, 500, 2), status=status)
        rig.track(*range(500))
        rig.flush()
        rig.advance(100)
        assert rig.held == 0
        assert rig.accepted == list(range(1, 500, 2))
        assert rig.dropped == {"rejected": 250}

    def test_past_64_extra_requests_halving_goes_on_at_a_pace(self) -> None:
        rig = Rig()
        rig.transport.otherwise = refuses(*range(500))
        rig.track(*range(500))
        rig.flush()
        rig.advance()
        assert 60 <= len(rig.sent) <= 70
        sent = len(rig.sent)
        rig.flush()  # neither a flush nor new events hurry it
        rig.track(*range(500, 520))
        rig.advance(1.05)
        assert sent + 10 <= len(rig.sent) <= sent + 11

    def test_a_shutdown_does_not_wait_for_the_pace(self) -> None:
        rig = Rig()
        rig.transport.otherwise = refuses(*range(0, 500, 2))
        rig.track(*range(500))
        rig.flush()
        rig.advance()
        assert rig.held
        rig.close(10.0)
        rig.advance(0.2)
        assert rig.scheduler.ended
        assert rig.accepted == list(range(1, 500, 2))
        assert rig.dropped == {"rejected": 250}

    @pytest.mark.parametrize("status", [402, 406, 409, 410, 415, 418, 451])
    def test_any_other_4xx_drops_the_batch_and_delivery_continues(self, status: int) -> None:
        rig = Rig(answer(status), max_batch_size=2)
        rig.track(1, 2, 3)
        rig.flush()
        rig.advance()
        assert rig.batches == [[1, 2], [3]]
        assert rig.reports == [("dropped", "rejected", 2)]
        assert rig.errors[0].status == status

    @pytest.mark.parametrize("status", [404, 405])
    def test_a_wrong_path_keeps_the_events_and_pauses_as_long_as_a_refused_key(
        self, status: int
    ) -> None:
        rig = Rig(answer(status), max_batch_size=2, random=0.0)
        rig.track(1, 2, 3)
        rig.flush()
        rig.advance()
        assert rig.batches == [[1, 2]]  # nothing is halved
        assert rig.reports == [("retry_exhausted", None, 3)]
        assert "; 3 events kept, next attempt in 60 s; correct base_url" in rig.errors[0].message
        rig.track(*range(4, 40))  # new events do not end the pause
        rig.advance(59)
        assert len(rig.sent) == 1
        rig.advance(1)
        assert rig.accepted[:3] == [1, 2, 3]
        assert rig.dropped == {}

    def test_a_body_that_is_too_large_is_split(self) -> None:
        rig = Rig()
        limit = len(event(10)) * 3 + 20
        rig.transport.otherwise = takes_at_most(limit)
        rig.track(*range(10, 30))
        rig.flush()
        rig.advance()
        assert rig.accepted == list(range(10, 30))
        assert rig.errors == []

    def test_one_event_that_is_too_large_is_dropped(self) -> None:
        rig = Rig(answer(413))
        rig.track(1)
        rig.flush()
        rig.advance()
        assert rig.reports == [("dropped", "too_large", 1)]

    def test_rejected_in_a_202_is_counted_and_the_others_are_delivered(self) -> None:
        rig = Rig(ok(rejected=2))
        rig.track(1, 2, 3)
        rig.flush()
        rig.advance()
        assert (rig.accounting.delivered, rig.dropped) == (1, {"refused_in_batch": 2})
        assert rig.errors[0].events == ()  # the server does not say which

    def test_when_all_are_rejected_it_is_known_which(self) -> None:
        rig = Rig(ok(rejected=2))
        rig.track(1, 2)
        rig.flush()
        rig.advance()
        assert [lost["number"] for lost in rig.errors[0].events] == [1, 2]

    @pytest.mark.parametrize(
        ("body", "is_clear"),
        [
            (b"", True),
            (b'{"rejected":-1}', True),
            (b'{"rejected":true}', True),
            (b"[]", False),
            (b"[" * 5_000, False),
        ],
    )
    def test_a_202_is_a_success_and_says_so_when_its_body_cannot_be_read(
        self, body: bytes, is_clear: bool, caplog: pytest.LogCaptureFixture
    ) -> None:
        rig = Rig(*[Answer(202, {}, body)] * 2, max_batch_size=1)
        rig.track(1, 2)
        rig.flush()
        rig.advance()
        assert (rig.accounting.delivered, rig.errors) == (2, [])
        assert len(caplog.messages) == (0 if is_clear else 1)
        assert (rig.scheduler.problem is None) == is_clear

    def test_a_page_of_a_captive_portal_keeps_the_events_until_the_service_answers(self) -> None:
        rig = Rig(
            *[Answer(200, {"content-type": "text/html"}, b"<html>Sign in")] * 3, max_retries=2
        )
        rig.track(1, 2)
        rig.flush()
        rig.advance(10)
        assert (rig.accounting.delivered, rig.held) == (0, 2)
        assert rig.reports == [("delayed", None, 2), ("retry_exhausted", None, 2)]
        assert "base_url" in rig.errors[0].message
        rig.flush()
        rig.advance()
        assert rig.accounting.delivered == 2

    def test_a_configuration_that_no_retry_can_help_is_reported_at_once(self) -> None:
        rig = Rig(Misconfigured("no such proxy"))
        rig.track(1, 2)
        rig.flush()
        rig.advance()
        assert rig.reports == [("retry_exhausted", None, 2)]
        assert "no such proxy" in rig.errors[0].message
        assert rig.held == 2

    @pytest.mark.parametrize("status", [200, 201, 204, 299])
    def test_success_depends_on_the_class_of_the_status(self, status: int) -> None:
        rig = Rig(answer(status))
        rig.track(1)
        rig.flush()
        rig.advance()
        assert rig.accounting.delivered == 1


class TestGivingUp:
    def test_after_max_retries_the_events_are_kept_and_reported(self) -> None:
        rig = Rig(*[answer(500)] * 3, max_retries=2)
        rig.track(1, 2)
        rig.flush()
        rig.advance(10)
        assert rig.times == [0.0, 1.0, 3.0]
        assert rig.reports == [("retry_exhausted", None, 2)]
        assert rig.errors[0].status == 500
        assert (rig.held, rig.scheduler.paused) == (2, True)

    def test_new_events_cause_no_request_during_the_pause(self) -> None:
        rig = Rig(answer(500), max_retries=0, flush_at=1, random=0.0)
        rig.track(1)
        rig.advance()
        for number in range(2, 29):
            rig.track(number)
            rig.advance(1)
        assert rig.times == [0.0]
        rig.advance(3)
        assert rig.times == [0.0, 30.0, 30.0]
        assert rig.batches == [[1], [1], list(range(2, 29))]

    @pytest.mark.parametrize(("random", "pause"), [(0.0, 30.0), (1.0, 60.0)])
    def test_the_pause_is_spread_over_half_a_minute(self, random: float, pause: float) -> None:
        rig = Rig(answer(500), max_retries=0, random=random)
        rig.track(1)
        rig.flush()
        rig.advance(100)
        assert rig.times == [0.0, pause]

    def test_asking_ends_the_pause(self) -> None:
        rig = Rig(answer(500), max_retries=0)
        rig.track(1)
        rig.flush()
        rig.advance(5)
        rig.flush()
        rig.advance()
        assert rig.times == [0.0, 5.0]
        assert rig.accepted == [1]

    def test_a_success_that_was_asked_for_ends_the_pause_for_all_that_comes_later(self) -> None:
        rig = Rig(answer(401), flush_interval=10.0)
        rig.track(1)
        rig.flush()
        rig.advance(5)
        rig.flush()
        rig.advance()
        rig.track(2)
        rig.advance(10)
        assert rig.times == [0.0, 5.0, 15.0]
        assert not rig.scheduler.paused

    def test_giving_up_again_pauses_again(self) -> None:
        rig = Rig(*[answer(500)] * 2, max_retries=0, random=0.0)
        rig.track(1)
        rig.flush()
        rig.advance(30)
        rig.advance(29)
        assert rig.times == [0.0, 30.0]
        rig.advance(1)
        assert rig.accepted == [1]

    @pytest.mark.parametrize("status", [401, 403])
    def test_a_refused_key_stops_delivery_for_a_minute_at_least(self, status: int) -> None:
        rig = Rig(answer(status), random=0.0, flush_at=1)
        rig.track(1)
        rig.advance()
        for number in range(2, 60):
            rig.advance(1)
            rig.track(number)
        assert rig.times == [0.0]
        assert rig.reports == [("auth", None, 1)]
        assert rig.errors[0].status == status
        rig.advance(2)
        assert rig.accepted == list(range(1, 60))

    def test_a_refused_key_never_floods_the_server(self) -> None:
        rig = Rig(flush_at=1)
        rig.transport.otherwise = answer(401)
        for number in range(600):
            rig.track(number)
            rig.advance(1)
        assert len(rig.sent) <= 10

    def test_the_rest_of_a_divided_batch_is_put_back_whole_and_in_order(self) -> None:
        rig = Rig(answer(400), ok(), answer(401))
        rig.track(1, 2, 3, 4)
        rig.flush()
        rig.advance()
        assert rig.reports == [("auth", None, 2)]
        rig.flush()
        rig.advance()
        assert rig.batches == [[1, 2, 3, 4], [1, 2], [3, 4], [3, 4]]

    def test_an_overflow_during_the_pause_drops_the_oldest(self) -> None:
        rig = Rig(answer(500), max_retries=0, max_queue_size=3)
        rig.track(1, 2)
        rig.flush()
        rig.advance()
        rig.track(3, 4, 5)
        rig.flush()
        rig.advance()
        assert rig.accepted == [3, 4, 5]
        assert rig.dropped == {"queue_full": 2}

    def test_what_does_not_fit_back_is_dropped_and_reported(self) -> None:
        rig = Rig(answer(500), answer(500), max_retries=1, max_queue_size=3)
        rig.track(1, 2)
        rig.flush()
        rig.advance()
        rig.track(3, 4, 5)
        rig.advance(1)
        assert ("dropped", "queue_full", 2) in rig.reports
        assert [lost["number"] for lost in rig.errors[-1].events] == [1, 2]

    def test_reports_of_a_kind_come_once_a_second_with_their_count(self) -> None:
        rig = Rig(max_batch_size=1, flush_at=1)
        rig.transport.otherwise = answer(410)
        rig.track(*range(50))
        rig.advance(5)
        assert [count for _, _, count in rig.reports] == [1, 49]
        assert rig.reported_at == [0.0, 1.0]
