"""The text of one event in the body of its request; hints for every problem."""

from __future__ import annotations

import re

import pytest

from whisperr.dev._ingest.model import Problem
from whisperr.dev._ingest.validation import get_hint, validate_event, validate_identify
from whisperr.dev._memory.to_json import find_event_text


@pytest.mark.parametrize(
    ("body", "index", "expected"),
    [
        (b'{"events":[{"a":1},{"b":19.90}]}', 1, '{"b":19.90}'),
        (b' { "events" : [ {"a" : [1, 2]} , 7 ] } ', 0, '{"a" : [1, 2]}'),
        (b' { "events" : [ {"a" : [1, 2]} , 7 ] } ', 1, "7"),
        (b'{"events":["x"],"events":["\xc3\xa9,]"]}', 0, '"é,]"'),
        (b'{"events":[1]}', 3, '{"events":[1]}'),
        (b'{"events":[1],"\\u0065vents":[2]}', 0, '{"events":[1],"\\u0065vents":[2]}'),
        (b'{"external_user_id":"u"}', 0, '{"external_user_id":"u"}'),
        (b"[", 0, "["),
        (b"", 0, ""),
        (b"\xff", 0, "\ufffd"),
        (b'{"events":[' + b"[" * 100_000, 0, '{"events":[' + "[" * 100_000),
    ],
)
def test_the_text_of_one_event_is_found(body: bytes, index: int, expected: str) -> None:
    assert find_event_text(body, index) == expected


def make_every_problem() -> list[Problem]:
    now = 1781438400.0
    channel = {"channel": 1, "address": "", "opted_in": 1, "type": "email", "kind": "fcm"}
    pushed = {"channel": "push", "address": "x", "platform": "tv", "push_env": 3}
    identify = {"external_user_id": "u", "email": "x", "anonymous_id": "", "traits": []}
    return [
        *validate_event({"a/b": 1, "external_user_id": 42}, now),
        *validate_event([], now),
        *validate_event({"occurred_at": "2020-01-01T00:00:00.000Z", "context": {}}, now),
        *validate_identify({**identify, "preferred_channel": "fax", "channels": {}}),
        *validate_identify({**identify, "channels": [channel, pushed, 7]}),
    ]


def test_every_problem_of_the_validation_has_a_hint_of_its_own() -> None:
    hints = {problem.pointer: get_hint(problem) for problem in make_every_problem()}
    assert len(hints) > 15
    general = get_hint(Problem("", "[]", "an object"))
    assert [pointer for pointer, hint in hints.items() if hint == general and pointer] == []
    assert all(re.fullmatch(r"[A-Z].*\.", hint) for hint in hints.values())


@pytest.mark.parametrize(
    ("problem", "expected"),
    [
        (Problem("/a~1b", "an unknown key", "only external_user_id, context"), "Remove a/b, or"),
        (Problem("/email", "an unknown key", "only traits, channels"), "move it into traits"),
        (Problem("/channels/0/type", "an unknown key", "only channel"), "from the channel"),
        (Problem("/occurred_at", '"x"', "from 30 days ago to 5 minutes ahead"), "the clock"),
        (Problem("/occurred_at", '"x"', "RFC 3339"), "2026-06-14T12:00:00.000Z"),
        (Problem("/of/the/future", "x", "y"), "one JSON object"),
    ],
)
def test_the_hint_fits_what_was_found(problem: Problem, expected: str) -> None:
    assert expected in get_hint(problem)
