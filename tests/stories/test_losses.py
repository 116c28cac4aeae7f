"""Losses are counted, reported in summary, and limited to the bad events."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

import pytest

from whisperr import Whisperr, WhisperrError
from whisperr.dev import LocalServer, faults

if TYPE_CHECKING:
    from collections.abc import Callable

    MakeClient = Callable[..., Whisperr]


def test_a_full_queue_keeps_the_newest_events_and_summarises_the_loss(
    server: LocalServer, make_client: MakeClient, errors: list[WhisperrError]
) -> None:
    server.set_faults(faults.status(503))
    client = make_client(max_queue_size=100)
    ids = [client.track("u", "seat_removed", {"number": number}) for number in range(10_000)]
    assert not client.flush(10)
    stats = client.stats()
    assert (stats.accepted, stats.delivered, stats.held) == (10_000, 0, 100)
    assert stats.dropped == {"queue_full": 9_900}
    server.set_faults()
    assert client.flush(10)
    assert [arrival.message_id for arrival in server.arrivals()] == ids[-100:]
    client.shutdown(10)
    assert len(errors) <= 10
    assert sum(error.count for error in errors if error.reason == "queue_full") == 9_900


def test_one_event_refused_by_an_older_server_is_the_only_loss(
    server: LocalServer, make_client: MakeClient, errors: list[WhisperrError]
) -> None:
    server.set_faults(faults.legacy())
    client = make_client(flush_at=1000)
    now = datetime.now(timezone.utc)
    # An hour ahead passes here and not there: which of two clocks is wrong is unknown.
    ids = [
        client.track("u", "trial_started", occurred_at=now + timedelta(hours=number == 123))
        for number in range(500)
    ]
    assert client.flush(30)
    client.shutdown(10)
    arrived = [arrival.message_id for arrival in server.arrivals(status="accepted")]
    assert arrived == [*ids[:123], *ids[124:]]
    assert client.stats().dropped == {"rejected": 1}
    (error,) = errors
    assert (error.reason, error.count, error.status) == ("rejected", 1, 400)
    assert error.events[0]["context"]["$message_id"] == ids[123]
    assert len(server.requests()) <= 20


def test_a_batch_over_the_size_limit_is_split_and_nothing_is_lost(
    errors: list[WhisperrError],
) -> None:
    with LocalServer(max_body_bytes=20_000) as server:
        client = Whisperr("wrk_test", base_url=server.url, flush_at=1000, on_error=errors.append)
        text = "x" * 1_000
        ids = [client.track("u", "note_written", {"text": text}) for _ in range(100)]
        lost = client.track("u", "note_written", {"text": "x" * 30_000})
        assert client.flush(30)
        client.shutdown(10)
        assert [arrival.message_id for arrival in server.arrivals()] == ids
    assert [(error.reason, error.count) for error in errors] == [("too_large", 1)]
    assert errors[0].events[0]["context"]["$message_id"] == lost


def test_bad_input_loses_its_own_event_and_the_report_names_the_line(
    server: LocalServer, make_client: MakeClient, errors: list[WhisperrError]
) -> None:
    client = make_client()
    assert client.track("u", "Payment Failed") is None
    assert client.track("u", "trial_started") is not None
    client.shutdown(10)
    assert len(server.arrivals(status="accepted")) == 1
    (error,) = errors
    assert (error.type, error.reason, error.count) == ("dropped", "invalid", 1)
    assert error.message.startswith("track: event_type: got 'Payment Failed'; must be")
    assert "test_losses.py:" in error.message


@pytest.mark.parametrize("fault", [faults.status(401), faults.status(503)])
def test_a_pause_makes_no_request_for_new_events(
    server: LocalServer, make_client: MakeClient, fault: faults.Fault
) -> None:
    server.set_faults(fault)
    client = make_client(flush_at=1)
    client.track("u", "trial_started")
    assert not client.flush(10)
    made = len(server.requests())  # one, or two when the thread was faster than the flush
    server.set_faults()
    for _ in range(1_000):
        client.track("u", "trial_started")
    assert client.stats().state == "paused"
    assert len(server.requests()) == made
    assert client.flush(30)
    assert len(server.arrivals(status="accepted")) == 1_001


def test_no_report_or_log_contains_the_key_or_a_payload(
    server: LocalServer,
    make_client: MakeClient,
    errors: list[WhisperrError],
    caplog: pytest.LogCaptureFixture,
) -> None:
    secret = "4111-1111-1111-1111"
    client = make_client(debug=True, max_queue_size=2)
    for status in (400, 401, 413, 503):
        server.set_faults(faults.status(status))
        client.track(secret, "trial_started", {"card": secret}, {"card": secret})
        client.identify(secret, email=secret, traits={"card": secret})
        client.flush(10)
    client.track("u", "trial_started", {"card": object(), secret: {1: secret}}, message_id="")
    client.identify("u", channels=[{"channel": "email", "address": 5, "x": secret}])
    client.shutdown(0)
    output = caplog.text + "".join(error.message for error in errors) + repr(client)
    output += repr(client.stats())
    assert output.count("WARNING") >= 5
    assert secret not in output
    assert "wrk_test" not in output
