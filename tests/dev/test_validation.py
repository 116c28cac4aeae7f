"""The validation of bodies, as tables: what is valid, what is wrong and where."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from whisperr.dev._ingest.validation import (
    Malformed,
    parse_batch,
    parse_body,
    validate_event,
    validate_identify,
)

NOW = datetime(2026, 6, 14, 12, 0, 0, tzinfo=timezone.utc)

EVENT: dict[str, Any] = {
    "external_user_id": "user_8842",
    "event_type": "payment_failed",
    "occurred_at": "2026-06-14T12:00:00.000Z",
    "properties": {"amount_cents": 4900},
    "context": {"$message_id": "f7a1"},
}


def pointers(event: object) -> list[str]:
    return [problem.pointer for problem in validate_event(event, NOW.timestamp())]


def at(offset: timedelta) -> str:
    return f"{NOW + offset:%Y-%m-%dT%H:%M:%S}.000Z"


def test_the_example_of_the_contract_is_valid() -> None:
    assert pointers(EVENT) == []


@pytest.mark.parametrize("key", list(EVENT))
def test_each_of_the_five_keys_is_required(key: str) -> None:
    assert pointers({k: v for k, v in EVENT.items() if k != key}) == [f"/{key}"]


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"external_user_id": 8842}, "/external_user_id"),
        ({"external_user_id": ""}, "/external_user_id"),
        ({"event_type": "Payment"}, "/event_type"),
        ({"event_type": "payment__failed"}, "/event_type"),
        ({"event_type": "_failed"}, "/event_type"),
        ({"event_type": "payment_failed\n"}, "/event_type"),
        ({"event_type": "paiement_échoué"}, "/event_type"),
        ({"event_type": ""}, "/event_type"),
        ({"occurred_at": "2026-06-14T12:00:00Z"}, "/occurred_at"),
        ({"occurred_at": "2026-06-14T12:00:00.000000Z"}, "/occurred_at"),
        ({"occurred_at": "2026-06-14T12:00:00.000+00:00"}, "/occurred_at"),
        ({"occurred_at": "2026-02-30T12:00:00.000Z"}, "/occurred_at"),
        ({"occurred_at": 1781438400}, "/occurred_at"),
        ({"occurred_at": at(-timedelta(days=30, seconds=1))}, "/occurred_at"),
        ({"occurred_at": at(timedelta(minutes=5, seconds=1))}, "/occurred_at"),
        ({"properties": []}, "/properties"),
        ({"properties": None}, "/properties"),
        ({"context": {}}, "/context/$message_id"),
        ({"context": {"$message_id": 7}}, "/context/$message_id"),
        ({"context": {"$message_id": ""}}, "/context/$message_id"),
        ({"context": []}, "/context"),
        ({"user": "x"}, "/user"),
        ({"a/b~c": 1}, "/a~1b~0c"),
    ],
)
def test_what_is_wrong_is_named_by_its_pointer(change: dict[str, Any], pointer: str) -> None:
    assert pointers({**EVENT, **change}) == [pointer]


@pytest.mark.parametrize("offset", [timedelta(0), timedelta(minutes=5), -timedelta(days=30)])
def test_the_ends_of_the_window_are_inside(offset: timedelta) -> None:
    assert pointers({**EVENT, "occurred_at": at(offset)}) == []


@pytest.mark.parametrize("event", [None, 7, "event", [], [EVENT]])
def test_an_event_is_an_object(event: object) -> None:
    assert pointers(event) == [""]


def test_a_problem_says_what_arrived_and_what_is_allowed() -> None:
    (problem,) = validate_event({**EVENT, "external_user_id": 42}, NOW.timestamp())
    assert str(problem) == "/external_user_id: 42; expected a string that is not empty"


def test_a_long_value_is_shortened() -> None:
    (problem,) = validate_event({**EVENT, "event_type": "X" * 1000}, NOW.timestamp())
    assert len(problem.found) == 80


EMAIL = {"channel": "email", "address": "ada@example.com"}
PUSH = {"channel": "push", "address": "token"}


@pytest.mark.parametrize(
    "body",
    [
        {"external_user_id": "u"},
        {"external_user_id": "u", "anonymous_id": "a" * 128, "traits": {}},
        {"external_user_id": "u", "preferred_channel": "sms", "channels": []},
        {"external_user_id": "u", "channels": [{**EMAIL, "opted_in": False, "verified": True}]},
        {"external_user_id": "u", "channels": [{**PUSH, "kind": "fcm", "platform": "ios"}]},
        {"external_user_id": "u", "channels": [{**PUSH, "push_env": "sandbox"}]},
        {"external_user_id": "u", "channels": [{**PUSH, "client_app_id": "a"}]},
    ],
)
def test_a_valid_identify_has_no_problems(body: dict[str, Any]) -> None:
    assert validate_identify(body) == []


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"external_user_id": 7}, "/external_user_id"),
        ({"occurred_at": at(timedelta(0))}, "/occurred_at"),
        ({"context": {}}, "/context"),
        ({"anonymous_id": ""}, "/anonymous_id"),
        ({"anonymous_id": "a" * 129}, "/anonymous_id"),
        ({"traits": []}, "/traits"),
        ({"preferred_channel": "fax"}, "/preferred_channel"),
        ({"preferred_channel": ["sms"]}, "/preferred_channel"),
        ({"channels": {}}, "/channels"),
        ({"channels": ["email"]}, "/channels/0"),
        ({"channels": [EMAIL, {"type": "email", "address": "a"}]}, "/channels/1/type"),
        ({"channels": [{"channel": "email"}]}, "/channels/0/address"),
        ({"channels": [{**EMAIL, "opted_in": None}]}, "/channels/0/opted_in"),
        ({"channels": [{**EMAIL, "verified": 1}]}, "/channels/0/verified"),
        ({"channels": [{**EMAIL, "kind": "fcm"}]}, "/channels/0/kind"),
        ({"channels": [{**PUSH, "kind": "pager"}]}, "/channels/0/kind"),
        ({"channels": [{**PUSH, "platform": "beos"}]}, "/channels/0/platform"),
        ({"channels": [{**PUSH, "provider_project": ""}]}, "/channels/0/provider_project"),
    ],
)
def test_what_is_wrong_in_an_identify_is_named(change: dict[str, Any], pointer: str) -> None:
    problems = validate_identify({"external_user_id": "u", **change})
    assert pointer in [problem.pointer for problem in problems]


@pytest.mark.parametrize("body", [None, [], "u"])
def test_an_identify_is_an_object(body: object) -> None:
    assert [problem.pointer for problem in validate_identify(body)] == [""]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "invalid_json"),
        (b"{", "invalid_json"),
        (b'{"events": [NaN]}', "invalid_json"),
        (b'{"events": ["\xff"]}', "invalid_json"),
        (b"[" * 100_000, "invalid_json"),
        (b"[]", "invalid_body"),
        (b'{"events": [{}], "batch": 1}', "unknown_key"),
        (b'{"events": []}', "no_events"),
        (b'{"events": {}}', "no_events"),
        (b"{}", "no_events"),
        (b'{"events": [' + b",".join([b"{}"] * 501) + b"]}", "too_many_events"),
    ],
)
def test_a_request_that_is_wrong_as_a_whole_has_an_error_code(body: bytes, code: str) -> None:
    with pytest.raises(Malformed) as raised:
        parse_batch(body)
    assert raised.value.code == code


def test_a_batch_holds_up_to_500_events() -> None:
    assert len(parse_batch(b'{"events": [' + b",".join([b"{}"] * 500) + b"]}")) == 500


def test_json_is_read_as_utf_8() -> None:
    assert parse_body('"é"'.encode()) == "é"
