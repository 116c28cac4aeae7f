"""The facts of the ingestion contract, over real HTTP, validated by the local server."""

from __future__ import annotations

import json
import re
import uuid
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest

from whisperr import Channel, Whisperr, WhisperrError, __version__
from whisperr.dev import LocalServer, faults

if TYPE_CHECKING:
    from collections.abc import Callable

    MakeClient = Callable[..., Whisperr]

EMAIL = {"channel": "email", "address": "ada@example.com"}


def sent(server: LocalServer, number: int = -1) -> Any:
    """Return the decoded body of one request."""
    return json.loads(server.requests()[number].body)


class TestRequests:
    def test_a_batch_is_sent_to_its_path_with_its_headers(
        self, server: LocalServer, make_client: MakeClient
    ) -> None:
        client = make_client()
        client.track("user_8842", "payment_failed", {"amount_cents": 4900})
        assert client.flush(10)
        (request,) = server.requests()
        assert (request.method, request.path) == ("POST", "/v1/events/batch")
        assert request.headers["content-type"] == "application/json"
        assert request.headers["x-api-key"] == "wrk_test"
        assert request.headers["user-agent"] == f"whisperr-python/{__version__}"

    def test_an_event_has_exactly_its_five_keys(
        self, server: LocalServer, make_client: MakeClient
    ) -> None:
        client = make_client()
        message_id = client.track("user_8842", "payment_failed", {"amount_cents": 4900})
        assert client.flush(10)
        body = sent(server)
        occurred_at = body["events"][0].pop("occurred_at")
        assert body == {
            "events": [
                {
                    "external_user_id": "user_8842",
                    "event_type": "payment_failed",
                    "properties": {"amount_cents": 4900},
                    "context": {
                        "$message_id": message_id,
                        "sdk_name": "whisperr-python",
                        "sdk_version": __version__,
                    },
                }
            ]
        }
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", occurred_at)

    def test_a_moment_is_truncated_to_the_millisecond(
        self, server: LocalServer, make_client: MakeClient
    ) -> None:
        client = make_client()
        zone = timezone(timedelta(hours=2))
        moment = datetime.now(zone).replace(second=7, microsecond=999_999) - timedelta(hours=1)
        client.track("u", "trial_started", occurred_at=moment)
        assert client.flush(10)
        utc = moment.astimezone(timezone.utc)
        assert sent(server)["events"][0]["occurred_at"] == f"{utc:%Y-%m-%dT%H:%M}:07.999Z"

    def test_order_is_kept_and_an_identify_is_sent_alone(
        self, server: LocalServer, make_client: MakeClient
    ) -> None:
        client = make_client(flush_at=1000)
        client.track("u", "first_step")
        client.track("u", "second_step")
        client.identify("u", traits={"plan": "pro"})
        client.track("u", "third_step")
        assert client.flush(10)
        assert [request.path for request in server.requests()] == [
            "/v1/events/batch",
            "/v1/identify",
            "/v1/events/batch",
        ]
        kinds = [arrival.type or arrival.kind for arrival in server.arrivals()]
        assert kinds == ["first_step", "second_step", "identify", "third_step"]

    @pytest.mark.parametrize(
        ("given", "expected"), [(42, "42"), (uuid.UUID(int=7), str(uuid.UUID(int=7))), ("u", "u")]
    )
    def test_an_id_arrives_as_a_string(
        self, server: LocalServer, make_client: MakeClient, given: object, expected: str
    ) -> None:
        client = make_client()
        client.track(given, "trial_started")
        client.identify(given)
        assert client.flush(10)
        assert [arrival.user for arrival in server.arrivals()] == [expected, expected]

    def test_all_requests_use_one_connection(
        self, server: LocalServer, make_client: MakeClient
    ) -> None:
        client = make_client()
        for number in range(5):
            client.identify(f"user_{number}")
        assert client.flush(10)
        assert {request.connection for request in server.requests()} == {1}


@pytest.mark.parametrize(
    ("options", "given", "expected"),
    [
        ({}, {}, {}),
        ({"app_version": " 1.4.2 "}, {}, {"app_version": "1.4.2"}),
        ({"app_version": "  "}, {}, {}),
        ({"app_version": "1"}, {"app_version": "2"}, {"app_version": "2"}),
        ({}, {"sdk_name": "mine", "sdk_version": "3"}, {"sdk_name": "mine", "sdk_version": "3"}),
        ({"test_mode": True}, {}, {"$mode": "test"}),
        ({}, {"locale": "de", "platform": "web"}, {"locale": "de", "platform": "web"}),
        ({}, {"$occurrence_key": "in_1"}, {"$occurrence_key": "in_1"}),
        ({}, {"$message_id": "mine"}, {}),
    ],
)
def test_the_context_follows_its_rules(
    server: LocalServer,
    make_client: MakeClient,
    options: dict[str, Any],
    given: dict[str, Any],
    expected: dict[str, Any],
) -> None:
    client = make_client(**options)
    message_id = client.track("u", "trial_started", context=given)
    assert client.flush(10)
    usual = {"sdk_name": "whisperr-python", "sdk_version": __version__}
    context = sent(server)["events"][0]["context"]
    assert context == {**usual, **expected, "$message_id": message_id}
    assert message_id != "mine"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, {}),
        ({"traits": {}}, {}),
        ({"traits": {"plan": "pro", "timezone": "UTC"}}, None),
        ({"anonymous_id": "3f2c"}, None),
        ({"preferred_channel": "sms"}, None),
        (
            {"email": "a@b", "phone": "+49", "push_token": "t"},
            {
                "channels": [
                    {"channel": "email", "address": "a@b", "opted_in": True},
                    {"channel": "sms", "address": "+49", "opted_in": True},
                    {"channel": "push", "address": "t", "opted_in": True},
                ]
            },
        ),
        ({"channels": [EMAIL]}, None),
        ({"channels": [{"type": "email", "address": "ada@example.com"}]}, {"channels": [EMAIL]}),
        ({"email": "old@b", "channels": [EMAIL]}, {"channels": [EMAIL]}),
        (
            {"channels": [Channel.email("a@b", opted_in=False, verified=True)]},
            {
                "channels": [
                    {"channel": "email", "address": "a@b", "opted_in": False, "verified": True}
                ]
            },
        ),
        (
            {"channels": [Channel.push("t", kind="apns", platform="ios", push_env="sandbox")]},
            {
                "channels": [
                    {
                        "channel": "push",
                        "address": "t",
                        "kind": "apns",
                        "platform": "ios",
                        "push_env": "sandbox",
                    }
                ]
            },
        ),
    ],
)
def test_an_identify_has_only_what_was_given(
    server: LocalServer,
    make_client: MakeClient,
    given: dict[str, Any],
    expected: dict[str, Any] | None,
) -> None:
    client = make_client(strict=True)
    client.identify("user_8842", **given)
    assert client.flush(10)
    assert server.requests()[0].path == "/v1/identify"
    assert sent(server) == {
        "external_user_id": "user_8842",
        **(given if expected is None else expected),
    }
    assert server.arrivals()[0].status == "accepted"


class TestAnswers:
    @pytest.mark.parametrize(
        ("status", "type_", "reason"),
        [
            (400, "dropped", "rejected"),
            (404, "retry_exhausted", None),
            (405, "retry_exhausted", None),
            (409, "dropped", "rejected"),
            (413, "dropped", "too_large"),
            (422, "dropped", "rejected"),
            (401, "auth", None),
            (403, "auth", None),
            (408, "retry_exhausted", None),
            (429, "retry_exhausted", None),
            (500, "retry_exhausted", None),
            (503, "retry_exhausted", None),
            (504, "retry_exhausted", None),
        ],
    )
    def test_each_class_of_status_has_its_outcome(
        self,
        server: LocalServer,
        make_client: MakeClient,
        errors: list[WhisperrError],
        status: int,
        type_: str,
        reason: str | None,
    ) -> None:
        server.set_faults(faults.status(status))
        client = make_client()
        client.track("u", "trial_started")
        kept = reason is None
        assert client.flush(10) is not kept
        (error,) = errors
        assert (error.type, error.reason, error.count) == (type_, reason, 1)
        assert client.stats().held == int(kept)

    @pytest.mark.parametrize(
        "fault",
        [faults.status(401), faults.status(429), faults.status(503), faults.cut()],
        ids=lambda fault: f"{fault.kind}-{fault.code}",
    )
    def test_kept_events_are_delivered_later_with_the_same_bytes(
        self, server: LocalServer, make_client: MakeClient, fault: faults.Fault
    ) -> None:
        server.set_faults(fault)
        client = make_client()
        ids = [client.track("u", "trial_started") for _ in range(3)]
        assert not client.flush(10)
        server.set_faults()
        assert client.flush(10)
        assert [arrival.message_id for arrival in server.arrivals()] == ids
        assert len({request.body for request in server.requests()}) == 1

    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    def test_a_redirect_is_not_followed_and_events_are_kept(
        self,
        server: LocalServer,
        make_client: MakeClient,
        errors: list[WhisperrError],
        status: int,
    ) -> None:
        with LocalServer() as other:
            target = f"{other.url}/v1/events/batch"
            server.set_faults(faults.status(status, location=target))
            client = make_client()
            client.track("u", "trial_started")
            assert not client.flush(10)
            assert other.requests() == []
        assert (client.stats().delivered, client.stats().held) == (0, 1)
        assert target in errors[0].message

    def test_a_lost_answer_is_sent_again_and_dropped_by_its_id(
        self, server: LocalServer, make_client: MakeClient
    ) -> None:
        server.set_faults(faults.lose_answer(times=1))
        client = make_client(max_retries=1)
        client.track("u", "trial_started")
        assert client.flush(30)
        assert [arrival.status for arrival in server.arrivals()] == ["accepted", "duplicate"]

    def test_retry_after_is_waited_for(self, server: LocalServer, make_client: MakeClient) -> None:
        server.set_faults(faults.status(429, times=1, retry_after=1))
        client = make_client(max_retries=1)
        client.track("u", "trial_started")
        assert not client.flush(0.3)
        assert client.flush(30)
        first, second = server.requests()
        assert second.received_at - first.received_at >= 1.0

    def test_rejected_in_a_202_is_reported(
        self, make_client: MakeClient, errors: list[WhisperrError]
    ) -> None:
        client = make_client()
        # A day ahead passes here and not there: which of two clocks is wrong is unknown.
        ahead = datetime.now(timezone.utc) + timedelta(hours=1)
        client.track("u", "trial_started")
        client.track("u", "trial_started", occurred_at=ahead)
        assert client.flush(10)
        assert client.stats().dropped == {"refused_in_batch": 1}
        assert [(error.reason, error.count, error.status) for error in errors] == [
            ("refused_in_batch", 1, 202)
        ]
