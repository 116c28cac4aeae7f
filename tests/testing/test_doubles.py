"""Doubles: a transport that keeps requests, and a clock that only `advance` moves."""

from __future__ import annotations

import threading

import pytest

from whisperr import Answer, Request, Transport, Whisperr, WhisperrError
from whisperr.dev import LocalServer
from whisperr.testing import FakeClock, MemoryTransport

REQUEST = Request("/v1/events/batch", b'{"events":[{"a":1},{"a":2}]}')


class TestMemoryTransport:
    def test_a_memory_transport_keeps_the_requests_of_a_client(self) -> None:
        transport = MemoryTransport()
        assert isinstance(transport, Transport)
        with Whisperr("wrk_test", transport=transport) as client:
            client.track("42", "payment_failed")
            client.identify("42", traits={"plan": "pro"})
        first, second = transport.sent
        assert [event["event_type"] for event in first.events] == ["payment_failed"]
        assert second.events == [{"external_user_id": "42", "traits": {"plan": "pro"}}]
        assert (first.path, second.path) == ("/v1/events/batch", "/v1/identify")
        assert transport.taken == transport.sent
        assert len(transport.closes) >= 1

    def test_replies_are_used_in_order_and_then_the_default(self) -> None:
        transport = MemoryTransport(
            Answer(503),
            OSError("reset"),
            lambda request: Answer(len(request.body)),
            lambda _: TimeoutError("late"),
            otherwise=Answer(404),
        )
        assert transport.send(REQUEST, 1.0).status == 503
        with pytest.raises(OSError, match="reset"):
            transport.send(REQUEST, 1.0)
        assert transport.send(REQUEST, 1.0).status == len(REQUEST.body)
        with pytest.raises(TimeoutError, match="late"):
            transport.send(REQUEST, 1.0)
        assert transport.send(REQUEST, 1.0).status == 404
        assert (len(transport.sent), transport.taken) == (5, [])

    def test_a_client_receives_the_given_replies(self) -> None:
        errors: list[WhisperrError] = []
        transport = MemoryTransport(Answer(401))
        with Whisperr("wrk_test", transport=transport, on_error=errors.append) as client:
            client.track("42", "payment_failed")
            assert client.flush(10) is False
            assert client.flush(10) is True
        assert [error.type for error in errors] == ["auth"]
        assert [len(sent.events) for sent in transport.taken] == [1]

    def test_a_held_request_is_answered_after_let_go(self) -> None:
        transport = MemoryTransport(held=True)
        answers: list[Answer] = []
        thread = threading.Thread(target=lambda: answers.append(transport.send(REQUEST, 1.0)))
        thread.start()
        transport.await_request()
        assert answers == []
        transport.let_go()
        thread.join(10)
        assert [answer.status for answer in answers] == [202]
        assert transport.sent[0].thread is thread

    def test_waiting_for_a_request_times_out(self) -> None:
        with pytest.raises(TimeoutError, match=r"no request was sent within 0\.01 s"):
            MemoryTransport().await_request(0.01)


class TestFakeClock:
    def test_only_advance_moves_the_clock(self) -> None:
        clock = FakeClock(start=5.0, wall_start=100.0)
        assert (clock(), clock.wall()) == (5.0, 100.0)
        clock.advance(2.5)
        assert (clock(), clock.wall(), clock.start) == (7.5, 102.5, 5.0)

    def test_a_transport_takes_its_times_from_the_clock(self) -> None:
        clock = FakeClock(start=5.0)
        transport = MemoryTransport(clock=clock)
        transport.send(REQUEST, 1.0)
        clock.advance(1.0)
        transport.close()
        assert (transport.sent[0].at, transport.closes) == (5.0, [6.0])

    def test_a_local_server_can_run_at_another_time(self) -> None:
        clock = FakeClock(wall_start=0.0)  # 1970: every event of today is far ahead
        with LocalServer(clock=clock.wall) as server:
            with Whisperr("wrk_test", base_url=server.url) as client:
                client.track("42", "payment_failed")
            (arrival,) = server.arrivals()
        assert arrival.problems[0].pointer == "/occurred_at"
