"""How a scheduler ends, closes its connection, and recovers from a bug."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from tests.delivery.rig import BrokenHeaders, Rig, answer, event, identify, ok
from whisperr._contract import Answer
from whisperr._queue.memory import MemoryQueue

if TYPE_CHECKING:
    from whisperr.testing import Reply


class TestClosing:
    def test_everything_is_delivered_and_the_scheduler_ends(self) -> None:
        rig = Rig(max_batch_size=2)
        rig.track(1, 2, 3)
        rig.put(identify(4))
        rig.close(within=10)
        rig.advance()
        assert rig.accepted == [1, 2, 3, 4]
        assert rig.scheduler.abandoned
        assert rig.transport.closes == [rig.clock.now]

    def test_the_attempts_share_one_deadline(self) -> None:
        rig = Rig(OSError(), OSError(), OSError(), request_timeout=10.0)
        rig.transport.takes = 3.0
        rig.track(1)
        rig.close(within=8)
        rig.advance(20)
        assert [sent.timeout for sent in rig.sent] == [8.0, 4.0]  # 3 s gone, then 1 s of backoff
        assert rig.dropped == {"shutdown": 1}

    def test_events_left_at_the_deadline_are_dropped_with_reason_shutdown(self) -> None:
        rig = Rig(ok(), max_batch_size=2)
        rig.transport.takes = 5.0
        rig.transport.otherwise = OSError()
        rig.track(1, 2, 3, 4, 5)
        rig.close(within=5)
        rig.advance(5)
        assert rig.accepted == [1, 2]
        assert rig.reports == [("dropped", "shutdown", 3)]
        assert [lost["number"] for lost in rig.errors[0].events] == [3, 4, 5]
        assert rig.held == 0

    @pytest.mark.parametrize(
        "last", [answer(401), answer(429, retry_after="60"), answer(503, retry_after="20")]
    )
    def test_a_wait_that_cannot_be_made_ends_it_at_once(self, last: Reply) -> None:
        rig = Rig(last)
        rig.track(1)
        rig.close(within=10)
        rig.advance()
        assert rig.scheduler.abandoned
        assert rig.dropped == {"shutdown": 1}

    @pytest.mark.parametrize("reply", [answer(503, retry_after="60"), answer(500)])
    def test_a_shutdown_that_begins_while_an_answer_is_read_does_not_wait_longer(
        self, reply: Reply
    ) -> None:
        rig = Rig(reply, random=1.0)
        rig.track(1)
        rig.flush()
        read_clock = rig.scheduler._wall_clock

        def close_and_read_clock() -> float:
            rig.scheduler.close(rig.clock.now + 0.5)  # in another thread, after the answer came
            return read_clock()

        rig.scheduler._wall_clock = close_and_read_clock
        rig.scheduler.step()
        rig.scheduler.step()
        assert rig.scheduler.ended
        assert rig.reports == [("retry_exhausted", None, 1), ("dropped", "shutdown", 1)]

    @pytest.mark.parametrize(
        ("reply", "type_", "step"),
        [
            (answer(401), "auth", "set WHISPERR_API_KEY"),
            (answer(404), "retry_exhausted", "correct base_url"),
            (
                answer(429, retry_after="60"),
                "retry_exhausted",
                "use a durable buffer, which outlives",
            ),
        ],
    )
    def test_one_loss_is_one_line_with_the_failure_and_what_to_do_about_it(
        self, reply: Reply, type_: str, step: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        rig = Rig(reply)
        rig.track(1)
        rig.close(within=10)
        rig.advance()
        assert rig.reports == [(type_, None, 1), ("dropped", "shutdown", 1)]
        (line,) = [record.getMessage() for record in caplog.records]
        assert line.startswith("whisperr: not delivered before shutdown ended; the server ")
        assert f"; 1 event dropped (shutdown); {step}" in line

    def test_it_ends_a_pause(self) -> None:
        rig = Rig(answer(401))
        rig.track(1)
        rig.flush()
        rig.advance(3)
        rig.close(within=10)
        rig.advance()
        assert rig.accepted == [1]

    def test_it_cuts_the_backoff(self) -> None:
        rig = Rig(*[answer(500)] * 5)
        rig.track(1)
        rig.flush()
        rig.advance(16)
        rig.close(within=10)
        rig.advance()
        assert rig.times == [0.0, 1.0, 3.0, 7.0, 15.0, 16.0]
        assert rig.accepted == [1]

    def test_the_first_deadline_stands(self) -> None:
        rig = Rig()
        rig.transport.otherwise = OSError()
        rig.track(1)
        rig.close(within=5)
        rig.close(within=500)
        rig.advance(5)
        assert rig.scheduler.abandoned
        assert rig.dropped == {"shutdown": 1}

    def test_abandoning_drops_the_rest_as_shutdown_at_once(self) -> None:
        rig = Rig(answer(500))
        rig.track(1, 2)
        rig.flush()
        rig.advance()
        rig.track(3)
        rig.scheduler.abandon()
        rig.advance(100)
        assert rig.times == [0.0]
        assert rig.reports == [("dropped", "shutdown", 3)]
        assert rig.held == 0

    def test_an_answer_that_comes_after_abandoning_is_ignored(self) -> None:
        rig = Rig()

        def abandoned(_: object) -> Answer:
            rig.scheduler.abandon()
            return ok()

        rig.transport.replies = [abandoned]
        rig.track(1, 2)
        rig.flush()
        rig.advance()
        assert (rig.accounting.delivered, rig.dropped) == (0, {"shutdown": 2})

    def test_an_event_put_after_abandoning_wakes_the_thread_that_counts_it(self) -> None:
        rig = Rig()
        rig.close(within=1)
        rig.advance()
        assert rig.scheduler.abandoned
        assert rig.scheduler.wake_at == 0


class TestLeaving:
    def test_what_is_held_is_delivered_without_delay_and_then_it_ends(self) -> None:
        rig = Rig(flush_interval=3_600.0)
        rig.track(1)
        rig.advance(1)
        rig.scheduler.leave()
        rig.wake()
        rig.advance()
        assert rig.accepted == [1]
        assert rig.scheduler.abandoned
        assert rig.errors == []

    def test_it_waits_for_retries_and_pauses_and_drops_nothing(self) -> None:
        rig = Rig(*[answer(500)] * 3, max_retries=2)
        rig.track(1)
        rig.scheduler.leave()
        rig.wake()
        rig.advance(62)
        assert not rig.scheduler.abandoned
        rig.advance(1)
        assert rig.accepted == [1]
        assert rig.scheduler.abandoned


class TestConnection:
    def test_it_is_closed_after_half_a_minute_without_a_request(self) -> None:
        rig = Rig()
        rig.track(1)
        rig.flush()
        rig.advance(29)
        rig.track(2)
        rig.flush()
        rig.advance(29)
        assert rig.transport.closes == []
        rig.advance(1)
        assert len(rig.transport.closes) == 1
        rig.advance(500)
        assert len(rig.transport.closes) == 1

    def test_it_is_closed_during_a_long_wait(self) -> None:
        rig = Rig(answer(429, retry_after="60"))
        rig.track(1)
        rig.flush()
        rig.advance(59)
        assert len(rig.transport.closes) == 1
        rig.advance(1)
        assert rig.accepted == [1]


class TestRecovering:
    def test_after_a_bug_the_events_are_kept_and_sent_after_a_pause(self) -> None:
        rig = Rig(Answer(410, BrokenHeaders(location="elsewhere")), random=0.0)
        rig.survives = True
        rig.track(1, 2)
        rig.flush()
        rig.advance(29)
        assert rig.times == [0.0]
        assert len(rig.bugs) == 1
        rig.advance(1)
        assert rig.accepted == [1, 2]

    def test_a_queue_that_cannot_even_be_counted_is_reported(self) -> None:
        broken: list[bool] = []

        class Broken(MemoryQueue):
            def __len__(self) -> int:
                if broken:
                    raise RuntimeError("a queue that fails")
                return super().__len__()

        rig = Rig()
        queue = Broken(10, 1_000)
        queue.put(event(1))
        broken.append(True)
        scheduler = rig.scheduler
        scheduler._queue = queue
        with pytest.raises(RuntimeError) as caught:
            scheduler.step()
        scheduler.recover(caught.value)
        rig.accounting.reporter.emit(rig.clock.now)
        assert rig.reports == [("retry_exhausted", None, 0)]
        assert "internal error in the delivery thread: RuntimeError at " in rig.errors[0].message

    def test_after_a_bug_it_is_logged_that_delivery_works_again(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO, "whisperr")
        rig = Rig(Answer(410, BrokenHeaders(location="elsewhere")), random=0.0)
        rig.survives = True
        rig.track(1)
        rig.flush()
        rig.advance(31)
        assert rig.accepted == [1]
        assert caplog.messages[-1] == "whisperr: delivering to the server again after 30 s"

    def test_a_flush_that_waits_learns_of_it(self) -> None:
        rig = Rig(Answer(410, BrokenHeaders(location="elsewhere")))
        rig.survives = True
        rig.track(1)
        rig.flush()
        rig.advance()
        assert rig.scheduler.give_ups == 1

    def test_a_bug_with_nothing_held_does_not_stop_later_events(self) -> None:
        rig = Rig()
        rig.survives = True
        rig.transport.close_error = RuntimeError("a close that fails")
        rig.track(1)
        rig.flush()
        rig.advance(40)
        assert len(rig.bugs) <= 1
        rig.track(2)
        rig.advance(200)
        assert rig.accepted == [1, 2]
