"""Cases 11 to 14: what a call costs when many events wait, or when an event is large.

They measure parts of this checkout, below the client: the queue in memory, the queues over stores,
and the encoder. The queue in memory and the encoder are measured at all sizes, in turn, in one
process. A store is filled by another queue first, so that its events belong to another process.
"""

from __future__ import annotations

import json
import statistics
import time
from datetime import datetime, timezone
from decimal import Decimal
from operator import truediv
from typing import TYPE_CHECKING

from benchmarks import stores
from benchmarks.case import Case, Figure, Row, Variant
from benchmarks.event import make_properties

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

SIZES = (1_000, 100_000, 1_000_000)
COUNT, BYTES = "by count", "by bytes"
BATCH = 500
_ROOM = 1 << 50
_EVENT_BYTES = 300
_CALLS = 1_000
_ROUNDS = 30
_FILL = 5_000
_MOST_OF_A_LARGE_EVENT = 0.02  # seconds of one round
_DEFAULT = {"default": str, "ensure_ascii": False, "separators": (",", ":")}
_NOW = datetime(2026, 6, 14, 12, tzinfo=timezone.utc)


def measure(_adapter: object, _url: str, given: dict[str, Any]) -> dict[str, Any]:
    """Measure the part that the case is about."""
    parts: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
        "full queue": _measure_full_queue,
        "store": _measure_store,
        "encoder": _measure_encoder,
    }
    return {**parts[given["part"]](given), "at_once": True}


# -- the queue in memory


def _measure_full_queue(given: dict[str, Any]) -> dict[str, float]:
    """Put into full queues of all sizes, in turn."""
    queues = {size: _fill_queue(size, given["row"]) for size in given["sizes"]}
    times: dict[int, list[float]] = {size: [] for size in queues}
    for turn in range(_ROUNDS):
        for size, queue in queues.items():
            events = _make_events(turn * _CALLS, _CALLS)
            began = time.thread_time()  # CPU time of this thread: nothing here waits
            for data in events:
                queue.put(data)
            times[size].append((time.thread_time() - began) / _CALLS * 1e6)
    figures = {f"at_{size}": statistics.median(values) for size, values in times.items()}
    least, *more = times.values()
    # A ratio for each round: what else the machine does in a round affects all sizes.
    growths = [statistics.median(map(truediv, values, least)) for values in more]
    return {**figures, "growth": max(growths)}


def _fill_queue(size: int, bound: str) -> Any:  # noqa: ANN401  # a queue of this checkout
    from whisperr._queue.memory import EVENT_OVERHEAD_BYTES, MemoryQueue

    room = size * (_EVENT_BYTES + EVENT_OVERHEAD_BYTES)
    bounds = (size, _ROOM) if bound == COUNT else (_ROOM, room)
    queue = MemoryQueue(*bounds, lost=list.clear)
    for first in range(0, size, _FILL):
        for data in _make_events(first, min(_FILL, size - first)):
            queue.put(data)
    return queue


def _make_events(first: int, count: int) -> list[bytes]:
    """Return events of one size, each a separate object."""
    head = b'{"event_type":"viewed","external_user_id":"user","properties":{"text":"%0*d"}}'
    digits = _EVENT_BYTES - len(head % (1, 0)) + 1
    return [head % (digits, number) for number in range(first, first + count)]


# -- the queues over stores


class _Accounting:
    """Counts nothing."""

    def __getattr__(self, _name: str) -> Callable[..., None]:
        return lambda *_, **__: None


def _measure_store(given: dict[str, Any]) -> dict[str, Any]:
    """Use a queue behind the events of another process."""
    try:
        with stores.run_store(given["store"]) as store:
            if store.url is None:
                return {"unavailable": "a store is needed"}
            return _use_queue(store.url, int(given["row"].replace(",", "")))
    except stores.NoStoreError as reason:
        return {"unavailable": str(reason)}


def _use_queue(url: str, waiting: int) -> dict[str, float]:
    from whisperr.buffers import parse_buffer_url

    def open_queue() -> Any:  # noqa: ANN401  # as above
        return parse_buffer_url(url).open(10 * SIZES[-1], _ROOM, _Accounting())

    other = open_queue()
    for first in range(0, waiting, _FILL):
        for data in _make_events(first, min(_FILL, waiting - first)):
            other.put(data)
    other.drain()
    queue = open_queue()
    figures = {"put": _time_calls(queue.put, [(one,) for one in _make_events(0, _CALLS)])}
    queue.poll()
    tail = queue.tail()
    figures["settled"] = _time_calls(queue.settled, [(tail,)] * _CALLS)
    figures["poll"] = _time_calls(queue.poll, [()] * 50)
    figures["sizes"] = _time_calls(lambda: (len(queue), queue.held_bytes, queue.stored), [()] * 50)
    figures["batch"] = _time_calls(lambda: queue.ack(len(queue.claim(BATCH))), [()] * 5) / BATCH
    return figures


def _time_calls(call: Callable[..., object], arguments: Sequence[tuple[Any, ...]]) -> float:
    """Return the median time of a call in microseconds."""
    times = []
    for given in arguments:
        began = time.perf_counter_ns()
        call(*given)
        times.append((time.perf_counter_ns() - began) / 1e3)
    return statistics.median(times)


# -- the encoder

PLAIN, ONE_DATE, DECIMALS = "plain", "with one date", "with a Decimal in each"
SMALL, SMALL_DATE = "6 members", "6 members, one a date"
CONTAINERS = (65, 500, 5_000)


def _measure_encoder(given: dict[str, Any]) -> dict[str, float]:
    """Encode an event and do the same with `json.dumps`, in turn."""
    from whisperr._events.to_json import to_json

    value = _make_value(given["row"])
    began = time.perf_counter()
    json.dumps(value, **_DEFAULT)  # type: ignore[arg-type]  # its options
    calls = max(1, int(_MOST_OF_A_LARGE_EVENT / (time.perf_counter() - began)))
    encoders: dict[str, Callable[[], object]] = {
        "encode": lambda: to_json(value, "properties"),
        "json": lambda: json.dumps(value, **_DEFAULT),  # type: ignore[arg-type]  # its options
    }
    times: dict[str, list[float]] = {name: [] for name in encoders}
    for _ in range(_ROUNDS):
        for name, encode in encoders.items():
            began = time.thread_time()
            for _ in range(calls):
                encode()
            times[name].append((time.thread_time() - began) / calls * 1e6)
    figures = {name: statistics.median(values) for name, values in times.items()}
    return {**figures, "ratio": figures["encode"] / figures["json"]}


def _make_value(row: str) -> dict[str, object]:
    small = {name: make_properties(1)[name] for name in list(make_properties(1))[:5]}
    if row in {SMALL, SMALL_DATE}:
        return {**small, "sixth": _NOW if row == SMALL_DATE else "text"}
    number, kind = row.split(" containers, ")
    more = {"amount": Decimal("19.90")} if kind == DECIMALS else {}
    item = {"name": "a product", "price": 19.9, "available": True, **more}
    items = [{"number": one, "code": f"c-{one}", **item} for one in range(int(number) - 2)]
    return {"items": items, **({"at": _NOW} if kind == ONE_DATE else {})}


def _make_rows(names: Sequence[str], environment: str = "whisperr") -> tuple[Row, ...]:
    return tuple(Row(name, environment, "whisperr_now") for name in names)


def _make_store_case(store: str) -> Case:
    return Case(
        title=f"Growth: calls while events wait in {store}",
        about=(
            f"Calls of a queue in {store} while events of another process wait before its own. "
            f"`claim` and `ack` move {BATCH} events; `flush()` calls `settled`, and `stats()` "
            "reads the sizes."
        ),
        figures=(
            Figure("batch", "`claim` and `ack`, per event", "µs"),
            Figure("put", "`put`", "µs"),
            Figure("settled", "`settled`", "µs"),
            Figure("poll", "`poll`", "µs", digits=0),
            Figure("sizes", "reading sizes", "µs"),
        ),
        full={"": Variant({"part": "store", "store": store}, counted=False, limit=600.0)},
        quick={},
        module="waiting",
        rows=_make_rows([f"{size:,}" for size in SIZES], "buffers"),
        row_head="events waiting",
        rounds=3,
        baseline=f"{SIZES[0]:,}",
    )


CASES = {
    "full_queue": Case(
        title="Growth: a full queue in memory",
        about=(
            "One `put` into a full queue, which drops the oldest event to make room, at three "
            "sizes of the queue. The growth is the largest ratio to the smallest size."
        ),
        figures=(
            Figure("growth", "growth", "times", digits=2),
            *(Figure(f"at_{size}", f"{size:,} waiting", "µs") for size in SIZES),
        ),
        full={"": Variant({"part": "full queue", "sizes": SIZES}, counted=False, limit=600.0)},
        quick={"": Variant({"part": "full queue", "sizes": SIZES[:2]}, counted=False)},
        module="waiting",
        rows=_make_rows((COUNT, BYTES)),
        row_head="bound of the queue",
        rounds=3,
    ),
    "behind_sqlite": _make_store_case(stores.SQLITE),
    "behind_redis": _make_store_case(stores.REDIS),
    "large_events": Case(
        title="Growth: large events, and values that JSON does not have",
        about="Encoding the properties of one event, compared with `json.dumps(default=str)`.",
        figures=(
            Figure("ratio", "encoding", "times `json.dumps`", digits=2),
            Figure("encode", "encoding", "µs"),
            Figure("json", "`json.dumps`", "µs"),
        ),
        full={"": Variant({"part": "encoder"}, counted=False)},
        quick={"": Variant({"part": "encoder"}, counted=False)},
        module="waiting",
        rows=_make_rows(
            (
                *(SMALL, SMALL_DATE),
                *(f"{n} containers, {kind}" for kind in (PLAIN, ONE_DATE) for n in CONTAINERS),
                f"500 containers, {DECIMALS}",
            )
        ),
        row_head="properties",
        rounds=3,
    ),
}
