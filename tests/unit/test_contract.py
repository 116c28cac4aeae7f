"""Step 6: how a batch becomes a request, and what every answer means."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whisperr import _contract as _wire
from whisperr._contract import (
    AUTH,
    DROP,
    HALVE,
    MAX_BATCH_BYTES,
    MAX_BATCH_EVENTS,
    OK,
    RETRY,
    SPLIT,
    Answer,
    classify,
    get_headers,
)
from whisperr._delivery.verdict import parse_error_code, parse_rejected
from whisperr._events.batch import BatchBuilder, take_batch, to_request
from whisperr._events.layout import EVENT_HEAD, IDENTIFY_HEAD, is_identify

SAME_EACH_TIME = settings(derandomize=True, database=None, deadline=None)
IDENTIFY = IDENTIFY_HEAD + b'"u"}'


def event_of(size: int) -> bytes:
    tail = b'"}'
    return EVENT_HEAD + b"e" * (size - len(EVENT_HEAD) - len(tail)) + tail


def filled(run: BatchBuilder, line: list[bytes]) -> int:
    for taken, data in enumerate(line):
        if not run.add(data):
            return taken
    return len(line)


class TestOutcome:
    @pytest.mark.parametrize(
        ("status", "outcome"),
        [
            (None, RETRY),
            (0, RETRY),
            (100, RETRY),
            (199, RETRY),
            (200, OK),
            (201, OK),
            (202, OK),
            (204, OK),
            (207, OK),
            (299, OK),
            (300, RETRY),
            (301, RETRY),
            (302, RETRY),
            (304, RETRY),
            (307, RETRY),
            (308, RETRY),
            (399, RETRY),
            (400, HALVE),
            (401, AUTH),
            (402, DROP),
            (403, AUTH),
            (404, DROP),
            (405, DROP),
            (407, DROP),
            (408, RETRY),
            (409, DROP),
            (410, DROP),
            (413, SPLIT),
            (415, DROP),
            (418, DROP),
            (421, DROP),
            (422, HALVE),
            (423, DROP),
            (425, DROP),
            (428, DROP),
            (429, RETRY),
            (431, DROP),
            (451, DROP),
            (499, DROP),
            (500, RETRY),
            (501, RETRY),
            (502, RETRY),
            (503, RETRY),
            (504, RETRY),
            (529, RETRY),
            (599, RETRY),
            (600, RETRY),
            (999, RETRY),
        ],
    )
    def test_every_class_of_status_has_one_meaning(self, status: int | None, outcome: str) -> None:
        assert classify(status) == outcome

    @pytest.mark.parametrize("status", range(200, 300))
    def test_success_is_judged_by_the_class_and_not_by_the_code(self, status: int) -> None:
        assert classify(status) == OK

    def test_nothing_but_a_2xx_is_a_success(self) -> None:
        others = [*range(200), *range(300, 1_000)]
        assert OK not in {classify(status) for status in others}

    def test_only_a_4xx_can_end_events(self) -> None:
        others = [*range(400), *range(500, 1_000)]
        assert {classify(status) for status in others} == {OK, RETRY}


class TestRun:
    def test_it_takes_events_up_to_its_number(self) -> None:
        run = BatchBuilder(3)
        assert filled(run, [event_of(40)] * 5) == 3
        assert run.events == [event_of(40)] * 3

    def test_what_does_not_fit_leaves_it_unchanged(self) -> None:
        run = BatchBuilder(1)
        assert run.add(b"1")
        assert not run.add(b"2")
        assert run.events == [b"1"]

    def test_the_order_is_kept(self) -> None:
        line = [event_of(40 + number) for number in range(10)]
        run = BatchBuilder(MAX_BATCH_EVENTS)
        filled(run, line)
        assert run.events == line

    def test_an_identify_goes_alone(self) -> None:
        run = BatchBuilder(500)
        assert run.add(IDENTIFY)
        assert not run.add(event_of(40))
        assert not run.add(IDENTIFY)
        assert run.events == [IDENTIFY]

    def test_an_identify_ends_a_run_of_events(self) -> None:
        run = BatchBuilder(500)
        assert filled(run, [event_of(40), event_of(41), IDENTIFY, event_of(42)]) == 2

    @SAME_EACH_TIME
    @given(
        st.lists(
            st.one_of(
                st.sampled_from([b"a", b"~", IDENTIFY, IDENTIFY_HEAD, event_of(MAX_BATCH_BYTES)]),
                st.sampled_from([MAX_BATCH_BYTES // 2 - 20, 40]).map(event_of),
            ),
            max_size=6,
        )
    )
    def test_the_first_run_of_a_line_is_what_one_takes_event_by_event(
        self, line: list[bytes]
    ) -> None:
        run = BatchBuilder(len(line))
        filled(run, line)
        assert take_batch(line) == run.events

    @pytest.mark.parametrize("size", [MAX_BATCH_BYTES, MAX_BATCH_BYTES * 3])
    def test_one_event_that_is_too_large_goes_alone(self, size: int) -> None:
        run = BatchBuilder(500)
        assert run.add(event_of(size))
        assert not run.add(event_of(40))

    def test_an_event_that_is_too_large_does_not_join_others(self) -> None:
        run = BatchBuilder(500)
        assert run.add(event_of(40))
        assert not run.add(event_of(MAX_BATCH_BYTES))

    @pytest.mark.parametrize(("over", "fits"), [(-1, True), (0, True), (1, False)])
    def test_the_limit_in_bytes_is_exact_to_the_byte(self, over: int, fits: bool) -> None:
        frame = len(b'{"events":[]}') + 2  # a comma is counted for every event
        half = (MAX_BATCH_BYTES - frame) // 2
        rest = MAX_BATCH_BYTES - frame - half + over
        run = BatchBuilder(500)
        assert run.add(event_of(half))
        assert run.add(event_of(rest)) is fits

    @SAME_EACH_TIME
    @given(st.lists(st.integers(40, 200_000), min_size=1, max_size=40), st.integers(1, 30))
    def test_a_batch_is_as_full_as_its_bounds_allow(self, sizes: list[int], most: int) -> None:
        line = [event_of(size) for size in sizes]
        run = BatchBuilder(most)
        taken = filled(run, line)
        body = to_request(run.events).body
        assert 1 <= taken <= most
        assert len(body) <= MAX_BATCH_BYTES
        if taken < min(most, len(line)):
            assert len(to_request(line[: taken + 1]).body) + 1 > MAX_BATCH_BYTES


class TestRequest:
    def test_events_travel_together_to_the_batch_path(self) -> None:
        request = to_request([b'{"event_type":"a"}', b'{"event_type":"b"}'])
        assert request.path == "/v1/events/batch"
        assert json.loads(request.body) == {"events": [{"event_type": "a"}, {"event_type": "b"}]}

    def test_one_event_is_a_batch_of_one(self) -> None:
        request = to_request((b'{"event_type":"a"}',))
        assert request.path == "/v1/events/batch"
        assert request.body == b'{"events":[{"event_type":"a"}]}'

    def test_an_identify_is_its_own_body(self) -> None:
        request = to_request([IDENTIFY])
        assert request.path == "/v1/identify"
        assert request.body == b'{"external_user_id":"u"}'

    def test_the_first_bytes_tell_an_identify_from_an_event(self) -> None:
        assert is_identify(IDENTIFY)
        assert not is_identify(EVENT_HEAD + b'e","external_user_id":"u"}')

    def test_the_headers_carry_the_key_and_our_own_agent(self) -> None:
        assert get_headers("wrk_1", "1.2.3") == {
            "Content-Type": "application/json",
            "User-Agent": "whisperr-python/1.2.3",
            "X-API-Key": "wrk_1",
        }

    def test_the_limits_are_those_of_the_contract(self) -> None:
        assert MAX_BATCH_EVENTS == 500
        assert MAX_BATCH_BYTES == 524_288
        assert _wire.BASE_URL == "https://api.whisperr.net"


GARBAGE = [
    b"",
    b" ",
    b"{",
    b"null",
    b"5",
    b'"rejected"',
    b'["rejected", "code"]',
    b"<html>bad gateway</html>",
    b"\xff\xfe",
    b"[" * 200_000,
    b'{"rejected": ' + b"9" * 5_000 + b"}",
]


class TestAnswer:
    def test_headers_and_body_may_be_missing(self) -> None:
        answer = Answer(202)
        assert (answer.status, dict(answer.headers), answer.body) == (202, {}, b"")

    @pytest.mark.parametrize(
        ("body", "count"),
        [
            (b'{"accepted": 4, "rejected": 1}', 1),
            (b'{"rejected": 500}', 500),
            (b'{"accepted": 5, "rejected": 0}', 0),
            (b'{"accepted": 5}', 0),
            (b'{"rejected": -1}', 0),
            (b'{"rejected": true}', 0),
            (b'{"rejected": "3"}', 0),
            (b'{"rejected": 3.0}', 0),
            (b'{"rejected": null}', 0),
            (b'{"rejected": [1]}', 0),
            *[(body, 0) for body in GARBAGE],
        ],
    )
    def test_rejected_counts_only_what_the_server_says_plainly(
        self, body: bytes, count: int
    ) -> None:
        assert parse_rejected(body) == count

    @pytest.mark.parametrize(
        ("body", "code"),
        [
            (b'{"code": "invalid_event"}', "invalid_event"),
            (b'{"error": "unauthorized"}', "unauthorized"),
            (b'{"code": "first", "error": "second"}', "first"),
            (b'{"code": "Free text", "error": "second"}', "second"),
            (b'{"code": 17, "error": "second"}', "second"),
            (b'{"code": "v2_limit"}', "v2_limit"),
            (b'{"code": "' + b"a" * 64 + b'"}', "a" * 64),
            (b'{"code": "' + b"a" * 65 + b'"}', None),
            (b'{"error": "ada@example.com is not allowed"}', None),
            (b'{"error": "user_8842\\n"}', None),
            (b'{"error": {"code": "nested"}}', None),
            (b'{"code": ""}', None),
            (b'{"code": "9lives"}', None),
            (b'{"code": null}', None),
            (b'{"message": "bad"}', None),
            *[(body, None) for body in GARBAGE],
        ],
    )
    def test_a_code_is_one_word_or_none(self, body: bytes, code: str | None) -> None:
        assert parse_error_code(body) == code
