"""What `whisperr dev` prints about arrivals and faults."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import pytest

from tests.facilities import needs_terminal
from whisperr._foreign import printable
from whisperr._terminal import wants_colour
from whisperr.dev import Arrival, Problem, ReceivedRequest
from whisperr.dev._console.terminal import Terminal


class ATerminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def render(arrival: Arrival, *, colour: bool = False) -> str:
    stream = ATerminal() if colour else io.StringIO()
    Terminal(stream).arrival(arrival)
    return stream.getvalue()


def arrival(**changes: Any) -> Arrival:
    fields: dict[str, Any] = {
        "seq": 1,
        "received_at": 0.0,
        "kind": "event",
        "status": "accepted",
        "user": "user_1",
        "type": "payment_failed",
        "request": 1,
        "body": {"properties": {"amount_cents": 4900}},
    }
    return Arrival(**{**fields, **changes})


def request(status: int | None, fault: str | None = None) -> ReceivedRequest:
    return ReceivedRequest(1, 1, 0.0, "POST", "/v1/identify", {}, b"", status, fault)


def test_an_arrival_is_one_line_with_its_properties() -> None:
    (line,) = render(arrival()).splitlines()
    assert line.split()[1:] == ["✓", "payment_failed", "user_1", '{"amount_cents":', "4900}"]


def test_a_refused_arrival_shows_its_problems() -> None:
    problem = Problem("/event_type", '"Bad"', "snake case")
    lines = render(arrival(status="refused", problems=(problem,))).splitlines()
    assert lines[0].split()[1] == "✗"
    assert lines[1].strip() == '/event_type: "Bad"; expected snake case'


def test_an_identify_shows_its_traits_and_channels() -> None:
    body = {"external_user_id": "u", "traits": {"plan": "pro"}}
    shown = render(arrival(kind="identify", type=None, status="duplicate", body=body))
    assert shown.split()[1:3] == ["=", "identify"]
    assert shown.rstrip().endswith('{"traits": {"plan": "pro"}}')


def test_a_body_that_is_not_an_object_is_shown() -> None:
    assert "(no user)" in render(arrival(body=[1], user=None, type=None, status="refused"))


def test_nothing_that_arrives_can_control_the_terminal() -> None:
    shown = render(arrival(user="\x1b[2J", type="a\nb", body={"properties": {"k": "\u202e\x9b"}}))
    assert shown.count("\n") == 1
    assert all(char.isprintable() for char in shown.rstrip("\n"))


def test_long_properties_are_shortened() -> None:
    assert len(render(arrival(body={"properties": {"k": "x" * 5000}}))) < 200


def test_fields_of_a_megabyte_are_shortened() -> None:
    large = "\x1b" * 1024 * 1024
    problems = tuple(Problem(f"/{large}", "x", "y") for _ in range(1_000))
    shown = render(
        arrival(status="refused", type=large, user=large, body={large: large}, problems=problems)
    )
    lines = shown.splitlines()
    assert len(lines) == 21
    assert max(map(len, lines)) < 2_100


@needs_terminal
def test_only_a_terminal_gets_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[32m✓\x1b[0m" in render(arrival(), colour=True)
    assert "\x1b" not in render(arrival())


def test_a_pipe_gets_no_colours() -> None:
    assert not wants_colour(io.StringIO())


@pytest.mark.parametrize(
    ("received", "expected"),
    [
        (request(202), ""),
        (request(202, "latency"), "! POST /v1/identify HTTP 202, injected: latency"),
        (request(503, "status"), "! POST /v1/identify HTTP 503, injected: status"),
        (request(None, "cut"), "! POST /v1/identify no answer, injected: cut"),
        (request(401), "! POST /v1/identify HTTP 401"),
    ],
)
def test_a_request_is_shown_when_it_failed_or_met_a_fault(
    received: ReceivedRequest, expected: str
) -> None:
    stream = io.StringIO()
    Terminal(stream).request(received)
    assert stream.getvalue()[13:].rstrip("\n") == expected


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"status": 401}, ["! POST /v1/identify HTTP 401", "no \\x1b[2Jkey"]),
        ({"status": None, "method": "", "path": ""}, ["! (no HTTP) no answer", "no \\x1b[2Jkey"]),
        # The lines of its events say it, or the name of the fault does.
        ({"status": 400, "refused": 1}, ["! POST /v1/identify HTTP 400"]),
        ({"status": 503, "fault": "status"}, ["! POST /v1/identify HTTP 503, injected: status"]),
    ],
)
def test_a_refused_request_shows_its_reason(changes: dict[str, Any], expected: list[str]) -> None:
    stream = io.StringIO()
    refused = {"error": "invalid_api_key", "reason": "no \x1b[2Jkey", **changes}
    Terminal(stream).request(replace(request(401), **refused))
    lines = stream.getvalue().splitlines()
    assert [lines[0][13:], *(line.strip() for line in lines[1:])] == expected


def test_plain_text_is_unchanged() -> None:
    assert printable("Zoë ✓") == "Zoë ✓"


def test_a_billing_signal_shows_its_webhook() -> None:
    context = {"provider": "stripe", "provider_event_id": "evt_1\x1b"}
    (line,) = render(arrival(body={"properties": {"price": 29}, "context": context})).splitlines()
    assert line.endswith('{"price": 29} [stripe evt_1\\x1b]')


@pytest.mark.parametrize("context", [None, [], {"provider": "stripe"}, {"provider_event_id": 7}])
def test_another_event_shows_no_webhook(context: object) -> None:
    (line,) = render(arrival(body={"properties": {"price": 29}, "context": context})).splitlines()
    assert line.endswith('{"price": 29}')
