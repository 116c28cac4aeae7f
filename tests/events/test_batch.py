"""Batches: how many events fit into one, and the request that carries it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whisperr._contract import MAX_BATCH_BYTES, MAX_BATCH_EVENTS
from whisperr._events.batch import BatchBuilder, take_batch, to_request
from whisperr._events.layout import EVENT_HEAD, IDENTIFY_HEAD

SAME_EACH_TIME = settings(derandomize=True, database=None, deadline=None)
IDENTIFY = IDENTIFY_HEAD + b'"u"}'


def make_event(size: int) -> bytes:
    """Return an event of `size` bytes."""
    tail = b'"}'
    return EVENT_HEAD + b"e" * (size - len(EVENT_HEAD) - len(tail)) + tail


def fill(builder: BatchBuilder, events: list[bytes]) -> int:
    """Add events until one does not fit; return how many were added."""
    for count, data in enumerate(events):
        if not builder.add(data):
            return count
    return len(events)


class TestBatchBuilder:
    def test_a_batch_takes_events_up_to_its_limit(self) -> None:
        builder = BatchBuilder(3)
        assert fill(builder, [make_event(40)] * 5) == 3
        assert builder.events == [make_event(40)] * 3

    def test_an_event_that_does_not_fit_is_not_added(self) -> None:
        builder = BatchBuilder(1)
        assert builder.add(b"1")
        assert not builder.add(b"2")
        assert builder.events == [b"1"]

    def test_events_keep_their_order(self) -> None:
        events = [make_event(40 + number) for number in range(10)]
        builder = BatchBuilder(MAX_BATCH_EVENTS)
        fill(builder, events)
        assert builder.events == events

    def test_an_identify_is_a_batch_of_its_own(self) -> None:
        builder = BatchBuilder(500)
        assert builder.add(IDENTIFY)
        assert not builder.add(make_event(40))
        assert not builder.add(IDENTIFY)
        assert builder.events == [IDENTIFY]

    def test_an_identify_ends_a_batch_of_events(self) -> None:
        builder = BatchBuilder(500)
        assert fill(builder, [make_event(40), make_event(41), IDENTIFY, make_event(42)]) == 2

    @SAME_EACH_TIME
    @given(
        st.lists(
            st.one_of(
                st.sampled_from([b"a", b"~", IDENTIFY, IDENTIFY_HEAD, make_event(MAX_BATCH_BYTES)]),
                st.sampled_from([MAX_BATCH_BYTES // 2 - 20, 40]).map(make_event),
            ),
            max_size=6,
        )
    )
    def test_take_batch_returns_what_a_builder_accepts(self, events: list[bytes]) -> None:
        builder = BatchBuilder(len(events))
        fill(builder, events)
        assert take_batch(events) == builder.events

    @pytest.mark.parametrize("size", [MAX_BATCH_BYTES, MAX_BATCH_BYTES * 3])
    def test_an_event_that_is_too_large_is_sent_alone(self, size: int) -> None:
        builder = BatchBuilder(500)
        assert builder.add(make_event(size))
        assert not builder.add(make_event(40))

    def test_an_event_that_is_too_large_is_not_added_to_others(self) -> None:
        builder = BatchBuilder(500)
        assert builder.add(make_event(40))
        assert not builder.add(make_event(MAX_BATCH_BYTES))

    @pytest.mark.parametrize(("over", "fits"), [(-1, True), (0, True), (1, False)])
    def test_the_limit_in_bytes_is_exact(self, over: int, fits: bool) -> None:
        frame = len(b'{"events":[]}') + 2  # a comma is counted for every event
        half = (MAX_BATCH_BYTES - frame) // 2
        rest = MAX_BATCH_BYTES - frame - half + over
        builder = BatchBuilder(500)
        assert builder.add(make_event(half))
        assert builder.add(make_event(rest)) is fits

    @SAME_EACH_TIME
    @given(st.lists(st.integers(40, 200_000), min_size=1, max_size=40), st.integers(1, 30))
    def test_a_batch_is_as_full_as_its_bounds_allow(self, sizes: list[int], most: int) -> None:
        events = [make_event(size) for size in sizes]
        builder = BatchBuilder(most)
        count = fill(builder, events)
        body = to_request(builder.events).body
        assert 1 <= count <= most
        assert len(body) <= MAX_BATCH_BYTES
        if count < min(most, len(events)):
            assert len(to_request(events[: count + 1]).body) + 1 > MAX_BATCH_BYTES


class TestRequest:
    def test_events_are_sent_together_to_the_batch_path(self) -> None:
        request = to_request([b'{"event_type":"a"}', b'{"event_type":"b"}'])
        assert request.path == "/v1/events/batch"
        assert json.loads(request.body) == {"events": [{"event_type": "a"}, {"event_type": "b"}]}

    def test_one_event_is_sent_as_a_batch(self) -> None:
        request = to_request((b'{"event_type":"a"}',))
        assert request.path == "/v1/events/batch"
        assert request.body == b'{"events":[{"event_type":"a"}]}'

    def test_an_identify_is_the_whole_body_of_its_request(self) -> None:
        request = to_request([IDENTIFY])
        assert request.path == "/v1/identify"
        assert request.body == b'{"external_user_id":"u"}'

    def test_the_empty_request_has_no_events(self) -> None:
        assert to_request(()).path == "/v1/events/batch"
        assert to_request(()).body == b'{"events":[]}'
