"""When and in what order the scheduler delivers, and how it handles each class of answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.delivery.rig import Rig, answer, identify

if TYPE_CHECKING:
    from whisperr.testing import Reply


class TestWhen:
    def test_nothing_is_sent_before_the_interval_is_over(self) -> None:
        rig = Rig(flush_interval=10.0)
        rig.track(1)
        rig.advance(9.5)
        assert rig.sent == []
        rig.advance(0.5)
        assert rig.batches == [[1]]

    def test_the_interval_counts_from_the_oldest_event(self) -> None:
        rig = Rig(flush_interval=10.0)
        rig.track(1)
        rig.advance(6)
        rig.track(2)
        rig.advance(4)
        assert rig.batches == [[1, 2]]
        assert rig.times == [10.0]

    def test_enough_events_are_sent_at_once(self) -> None:
        rig = Rig(flush_at=3)
        rig.track(1, 2)
        rig.advance(1)
        assert rig.sent == []
        rig.track(3)
        rig.advance()
        assert rig.batches == [[1, 2, 3]]
        assert rig.times == [1.0]

    def test_events_of_one_burst_are_sent_at_once(self) -> None:
        rig = Rig(flush_at=3)
        rig.track(*range(7))
        rig.advance()
        assert rig.batches == [[0, 1, 2, 3, 4, 5, 6]]

    def test_a_second_interval_begins_with_the_next_event(self) -> None:
        rig = Rig(flush_interval=10.0)
        rig.track(1)
        rig.advance(25)
        rig.track(2)
        rig.advance(9.5)
        assert rig.times == [10.0]
        rig.advance(0.5)
        assert rig.times == [10.0, 35.0]

    def test_no_event_waits_longer_than_the_interval_for_its_turn(self) -> None:
        rig = Rig(flush_interval=10.0)
        rig.track(1)
        rig.put(identify(2))
        rig.track(3)
        rig.advance(10)
        assert rig.batches == [[1], [2], [3]]

    def test_enough_events_are_all_sent_although_they_take_several_requests(self) -> None:
        rig = Rig(flush_at=4)
        rig.track(1)
        rig.put(identify(2))
        rig.put(identify(3))
        rig.track(4)
        rig.advance()
        assert rig.batches == [[1], [2], [3], [4]]

    def test_asking_sends_at_once(self) -> None:
        rig = Rig()
        rig.track(1)
        rig.advance(1)
        rig.flush()
        rig.advance()
        assert rig.times == [1.0]

    def test_asking_does_not_send_later_events_early(self) -> None:
        rig = Rig(max_batch_size=2)
        rig.track(1, 2)
        rig.flush()
        rig.track(3)
        rig.advance(1)
        assert rig.batches == [[1, 2]]

    def test_an_idle_scheduler_wants_no_calls(self) -> None:
        rig = Rig()
        assert rig.scheduler.step() == float("inf")

    def test_each_attempt_gets_the_request_timeout(self) -> None:
        rig = Rig(request_timeout=7.5)
        rig.track(1)
        rig.advance(10)
        assert [sent.timeout for sent in rig.sent] == [7.5]


class TestOrder:
    def test_a_batch_is_at_most_max_batch_size_and_in_order(self) -> None:
        rig = Rig(max_batch_size=3, flush_at=1)
        rig.track(*range(8))
        rig.flush()
        rig.advance()
        assert rig.batches == [[0, 1, 2], [3, 4, 5], [6, 7]]

    def test_an_identify_is_sent_alone_and_in_its_order(self) -> None:
        rig = Rig()
        rig.track(1, 2)
        rig.put(identify(3))
        rig.put(identify(4))
        rig.track(5)
        rig.flush()
        rig.advance()
        assert rig.batches == [[1, 2], [3], [4], [5]]
        assert [sent.path for sent in rig.sent] == [
            "/v1/events/batch",
            "/v1/identify",
            "/v1/identify",
            "/v1/events/batch",
        ]
        assert rig.sent[1].body == identify(3)

    def test_nothing_overtakes_a_batch_that_waits_for_its_retry(self) -> None:
        rig = Rig(answer(500), flush_at=1)
        rig.track(1)
        rig.advance()
        rig.track(2, 3)
        rig.flush()
        rig.advance(5)
        assert rig.batches == [[1], [1], [2, 3]]

    def test_what_was_put_back_is_sent_again_as_the_same_batch(self) -> None:
        rig = Rig(answer(500), max_retries=0)
        rig.track(1, 2)
        rig.flush()
        rig.advance()
        rig.track(3)
        rig.flush()
        rig.advance()
        assert rig.batches == [[1, 2], [1, 2], [3]]
        assert rig.sent[0].body == rig.sent[1].body


FAILURES: list[Reply] = [
    answer(500),
    answer(503),
    answer(429),
    answer(408),
    answer(302, location="https://other.example/"),
    OSError("connection reset"),
    TimeoutError("too slow"),
    RuntimeError("a transport may raise anything"),
    lambda _: None,
]


class TestIdleConnection:
    def test_after_a_frozen_process_the_connection_is_closed_before_a_request_that_is_due(
        self,
    ) -> None:
        rig = Rig()
        rig.track(1)
        rig.flush()
        rig.advance()
        rig.track(2)
        rig.clock.now += 35.0  # nothing ran meanwhile
        rig.flush()
        rig.advance()
        assert rig.batches == [[1], [2]]
        assert rig.transport.closes == [rig.clock.now]

    def test_one_that_was_used_lately_is_kept(self) -> None:
        rig = Rig()
        rig.track(1)
        rig.flush()
        rig.advance(29.0)
        rig.track(2)
        rig.flush()
        rig.advance()
        assert rig.transport.closes == []

    def test_one_that_is_not_used_is_closed_once(self) -> None:
        rig = Rig()
        rig.track(1)
        rig.flush()
        rig.advance(100.0)
        assert rig.transport.closes == [rig.clock.start + 30.0]


class TestRetry:
    @pytest.mark.parametrize("failure", FAILURES)
    def test_the_same_bytes_are_sent_again_after_the_backoff(self, failure: Reply) -> None:
        rig = Rig(failure, failure, failure, random=1.0)
        rig.track(1, 2)
        rig.flush()
        rig.advance(7)
        assert rig.times == [0.0, 1.0, 3.0, 7.0]
        assert len({sent.body for sent in rig.sent}) == 1
        assert (rig.accounting.requests, rig.accounting.retries) == (4, 3)

    def test_jitter_shortens_the_wait_to_half_at_most(self) -> None:
        rig = Rig(answer(500), answer(500), random=0.0)
        rig.track(1)
        rig.flush()
        rig.advance(5)
        assert rig.times == [0.0, 0.5, 1.5]

    def test_the_backoff_never_exceeds_half_a_minute(self) -> None:
        rig = Rig(*[answer(500)] * 8, max_retries=8)
        rig.track(1)
        rig.flush()
        rig.advance(200)
        waits = [b - a for a, b in zip(rig.times, rig.times[1:], strict=False)]
        assert waits == [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]

    def test_asking_does_not_cut_the_backoff_of_a_batch(self) -> None:
        rig = Rig(answer(500), answer(500))
        rig.track(1)
        rig.flush()
        rig.advance(2)
        rig.flush()
        rig.advance(0.75)
        assert rig.times == [0.0, 1.0]

    def test_a_problem_is_shown_until_a_success(self) -> None:
        rig = Rig(answer(500), OSError("reset by peer"))
        rig.track(1)
        rig.flush()
        rig.advance()
        assert rig.scheduler.problem == "the server answered HTTP 500"
        rig.advance(1)
        assert rig.scheduler.problem == "no answer: OSError: reset by peer"
        rig.advance(5)
        assert rig.scheduler.problem is None

    def test_a_redirect_is_kept_and_not_followed(self) -> None:
        rig = Rig(answer(307, location="https://other.example/v1?key=secret"), max_retries=0)
        rig.track(1)
        rig.flush()
        rig.advance()
        assert rig.reports == [("retry_exhausted", None, 1)]
        assert "https://other.example/v1" in rig.errors[0].message
        assert "secret" not in rig.errors[0].message
        assert len(rig.sent) == 1
        assert rig.held == 1


class TestRetryAfter:
    @pytest.mark.parametrize("status", [429, 503])
    @pytest.mark.parametrize(
        ("value", "wait"),
        [("5", 5.0), ("0", 0.0), ("600", 60.0), ("soon", 1.0), ("-3", 1.0)],
    )
    def test_it_replaces_the_backoff(self, status: int, value: str, wait: float) -> None:
        rig = Rig(answer(status, retry_after=value))
        rig.track(1)
        rig.flush()
        rig.advance(100)
        assert rig.times == [0.0, wait]

    def test_a_date_is_understood(self) -> None:
        rig = Rig(answer(429, retry_after="Tue, 09 Jun 2026 10:13:27 GMT"))
        assert rig.clock.wall() == 1_781_000_000.0  # 10:13:20 GMT
        rig.track(1)
        rig.flush()
        rig.advance(60)
        assert rig.times == [0.0, 7.0]

    def test_other_statuses_cannot_ask_for_a_wait(self) -> None:
        rig = Rig(answer(500, retry_after="50"))
        rig.track(1)
        rig.flush()
        rig.advance(10)
        assert rig.times == [0.0, 1.0]

    def test_asking_does_not_cut_it_short(self) -> None:
        rig = Rig(answer(429, retry_after="30"))
        rig.track(1)
        rig.flush()
        for _ in range(29):
            rig.advance(1)
            rig.track(2)
            rig.flush()
        assert rig.times == [0.0]
        rig.advance(1)
        assert rig.times[:2] == [0.0, 30.0]

    def test_it_also_holds_after_giving_up(self) -> None:
        rig = Rig(answer(503, retry_after="45"), max_retries=0)
        rig.track(1)
        rig.flush()
        rig.advance(44.5)
        rig.flush()
        rig.advance()
        assert rig.times == [0.0]
        rig.advance(0.5)
        assert rig.times == [0.0, 45.0]

    def test_it_neither_resets_nor_extends_the_retry_limit(self) -> None:
        rig = Rig(*[answer(429, retry_after="2")] * 9, max_retries=3)
        rig.track(1)
        rig.flush()
        rig.advance(20)
        assert rig.times == [0.0, 2.0, 4.0, 6.0]
        assert rig.reports == [("delayed", None, 1), ("retry_exhausted", None, 1)]

    def test_closing_cuts_it_short(self) -> None:
        rig = Rig(answer(429, retry_after="60"))
        rig.track(1)
        rig.flush()
        rig.advance(1)
        rig.close(within=5)
        rig.advance()
        assert rig.times == [0.0, 1.0]
        assert rig.scheduler.abandoned
        assert rig.accounting.delivered == 1
