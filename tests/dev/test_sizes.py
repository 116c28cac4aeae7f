"""The memory of a local server is bounded, whatever arrives."""

from __future__ import annotations

import json
import tracemalloc
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import pytest

from tests.dev.wire import HEADERS, event
from whisperr.dev._ingest.model import BATCH_PATH, IDENTIFY_PATH, ReceivedRequest
from whisperr.dev._ingest.service import ingest
from whisperr.dev._memory.arrivals import Arrivals
from whisperr.dev._memory.sizes import Kept, measure_arrival, measure_request

if TYPE_CHECKING:
    from collections.abc import Callable

NOW = datetime(2026, 6, 14, 12, 0, 1, tzinfo=timezone.utc).timestamp()
BOUND = 64 * 1024 * 1024
KILOBYTES = 300 * 1024
TOKEN = {**{name.lower(): value for name, value in HEADERS.items()}}


def make_request(path: str, body: bytes, headers: dict[str, str] | None = None) -> ReceivedRequest:
    given = {**TOKEN, **(headers or {})}
    return ReceivedRequest(0, 1, NOW, "POST", path, given, body, 202, None)


def identify(traits: str) -> ReceivedRequest:
    body = f'{{"external_user_id":"u","traits":{traits}}}'.encode()
    return make_request(IDENTIFY_PATH, body)


def repeat(part: str) -> str:
    return f'{{"a":[{",".join([part] * (KILOBYTES // (len(part) + 1)))}]}}'


REQUESTS: dict[str, Callable[[int], ReceivedRequest]] = {
    "empty objects": lambda _: identify(repeat("{}")),
    "objects": lambda _: identify(repeat('{"a":1}')),
    "empty lists": lambda _: identify(repeat("[]")),
    "numbers": lambda _: identify(repeat("1.5")),
    "texts": lambda _: identify(repeat('"ab"')),
    "a long text": lambda _: identify(json.dumps({"a": "ü" * KILOBYTES}, ensure_ascii=False)),
    "unknown keys": lambda _: make_request(
        IDENTIFY_PATH, json.dumps({f"k{number}": 1 for number in range(30_000)}).encode()
    ),
    "headers": lambda number: make_request(
        IDENTIFY_PATH,
        b'{"external_user_id":"u"}',
        {f"x-{one}": f"{number}" + "x" * 10_000 for one in range(100)},
    ),
    "user agents and types": lambda number: make_request(
        BATCH_PATH,
        json.dumps(
            {"events": [event(str(number), event_type=f"t{number}" + "x" * KILOBYTES)]}
        ).encode(),
        {"user-agent": f"{number}" + "x" * KILOBYTES},
    ),
    "message ids": lambda number: make_request(
        BATCH_PATH, json.dumps({"events": [event(f"{number}" + "x" * KILOBYTES)]}).encode()
    ),
}


def keep(memory: Arrivals, request: ReceivedRequest) -> None:
    memory.keep(request, ingest(request, None, legacy=False)[1])


@pytest.mark.parametrize("name", REQUESTS)
def test_all_that_is_kept_of_a_request_is_counted(name: str) -> None:
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        request = REQUESTS[name](1)
        arrivals = ingest(request, None, legacy=False)[1]
        kept = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    measured = measure_request(request) + sum(map(measure_arrival, arrivals))
    assert kept * 0.8 - 50_000 < measured < kept * 2 + 50_000


@pytest.mark.parametrize("name", REQUESTS)
def test_the_memory_is_bounded_whatever_arrives(name: str) -> None:
    memory = Arrivals(10_000, None, None, None)
    request = REQUESTS[name](1)
    arrivals = ingest(request, None, legacy=False)[1]
    size = measure_request(request) + sum(map(measure_arrival, arrivals))
    count = 3 * BOUND // size
    for _ in range(count):  # of the same objects, so that this test takes no memory itself
        memory.keep(request, arrivals)
    assert 1 <= sum(map(measure_arrival, memory.arrivals())) <= BOUND
    assert 1 <= sum(map(measure_request, memory.requests())) <= BOUND
    assert memory.arrivals()[-1].seq == memory.summary()["last"] == count


def test_names_that_are_too_many_or_too_long_are_counted_together() -> None:
    memory = Arrivals(10, None, None, None)
    for number in range(1_100):
        agent = {"user-agent": f"agent {number}"}
        body = {"events": [event(str(number), event_type=f"type_{number}")]}
        keep(memory, make_request(BATCH_PATH, json.dumps(body).encode(), agent))
    counts: dict[str, Any] = memory.summary()
    for name in ("types", "agents"):
        assert len(counts[name]) == 1_001
        assert counts[name]["(others)"] == 100


def test_a_long_message_id_is_still_known_the_second_time() -> None:
    memory = Arrivals(10, None, None, None)
    for message_id in ("x" * 1_000 + "1", "x" * 1_000 + "2", "x" * 1_000 + "1", "\ud800" * 100):
        body = json.dumps({"events": [event(message_id)]}).encode()
        keep(memory, make_request(BATCH_PATH, body))
    statuses = [arrival.status for arrival in memory.arrivals()]
    assert statuses == ["accepted", "accepted", "duplicate", "accepted"]


def test_the_oldest_are_dropped_and_the_newest_is_kept_whatever_its_size() -> None:
    kept: Kept[str] = Kept(3, 100)
    for item, size in (("a", 60), ("b", 30), ("c", 10), ("d", 1)):
        kept.add(item, size)
    assert list(kept.items) == ["b", "c", "d"]
    kept.add("e", 1_000)
    assert list(kept.items) == ["e"]
    kept.add("f", 1)
    assert list(kept.items) == ["f"]
    kept.clear()
    assert list(kept.items) == []


def test_none_is_kept_when_none_is_wanted() -> None:
    kept: Kept[str] = Kept(0, 100)
    kept.add("a", 1)
    assert list(kept.items) == []
