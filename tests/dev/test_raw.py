"""An event as it was sent, found in the body of its request; and what to do about a problem."""

from __future__ import annotations

import re

import pytest

from whisperr.dev._ingest.hints import fix_of
from whisperr.dev._ingest.raw import event_text
from whisperr.dev._ingest.validation import Problem, event_problems, identify_problems


@pytest.mark.parametrize(
    ("body", "index", "expected"),
    [
        (b'{"events":[{"a":1},{"b":19.90}]}', 1, '{"b":19.90}'),
        (b' { "events" : [ {"a" : [1, 2]} , 7 ] } ', 0, '{"a" : [1, 2]}'),
        (b' { "events" : [ {"a" : [1, 2]} , 7 ] } ', 1, "7"),
        (b'{"events":["x"],"events":["\xc3\xa9,]"]}', 0, '"é,]"'),
        (b'{"events":[1]}', 3, '{"events":[1]}'),
        (b'{"external_user_id":"u"}', 0, '{"external_user_id":"u"}'),
        (b"[", 0, "["),
        (b"", 0, ""),
        (b"\xff", 0, "\ufffd"),
        (b'{"events":[' + b"[" * 100_000, 0, '{"events":[' + "[" * 100_000),
    ],
)
def test_the_text_of_one_event_is_cut_out(body: bytes, index: int, expected: str) -> None:
    assert event_text(body, index) == expected


def every_problem() -> list[Problem]:
    now = 1781438400.0
    channel = {"channel": 1, "address": "", "opted_in": 1, "type": "email", "kind": "fcm"}
    pushed = {"channel": "push", "address": "x", "platform": "tv", "push_env": 3}
    identify = {"external_user_id": "u", "email": "x", "anonymous_id": "", "traits": []}
    return [
        *event_problems({"a/b": 1, "external_user_id": 42}, now),
        *event_problems([], now),
        *event_problems({"occurred_at": "2020-01-01T00:00:00.000Z", "context": {}}, now),
        *identify_problems({**identify, "preferred_channel": "fax", "channels": {}}),
        *identify_problems({**identify, "channels": [channel, pushed, 7]}),
    ]


def test_every_problem_of_the_judge_has_advice_of_its_own() -> None:
    advice = {problem.pointer: fix_of(problem) for problem in every_problem()}
    assert len(advice) > 15
    general = fix_of(Problem("", "[]", "an object"))
    assert [pointer for pointer, fix in advice.items() if fix == general and pointer] == []
    assert all(re.fullmatch(r"[A-Z].*\.", fix) for fix in advice.values())


@pytest.mark.parametrize(
    ("problem", "expected"),
    [
        (Problem("/a~1b", "an unknown key", "only external_user_id, context"), "Take a/b out, or"),
        (Problem("/email", "an unknown key", "only traits, channels"), "move it into traits"),
        (Problem("/channels/0/type", "an unknown key", "only channel"), "out of the channel"),
        (Problem("/occurred_at", '"x"', "from 30 days ago to 5 minutes ahead"), "the clock"),
        (Problem("/occurred_at", '"x"', "RFC 3339"), "2026-06-14T12:00:00.000Z"),
        (Problem("/of/the/future", "x", "y"), "one JSON object"),
    ],
)
def test_the_advice_fits_what_was_found(problem: Problem, expected: str) -> None:
    assert expected in fix_of(problem)
