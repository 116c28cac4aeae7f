"""Server-sent events of what arrives, for the page and for `whisperr tail`.

    GET /_dev/stream?recent=100&q=is:refused        Last-Event-ID: or &last=, to resume

Each message `news` is one JSON object:

- `fresh`: the reader must start over, because its data are of another epoch. `missed`: how many
  arrivals were dropped before they were read. `more`: another message follows at once.
- `arrivals`, `requests`: new ones, as in the API. A request has a `digest` instead of its body, and
  its texts are shortened. An arrival that is very large or cannot be written has `body` null and
  `cut` true.
- `summary`, `faults`: the current ones. `oldest`: the `seq` of the oldest arrival that is kept.
- `any_key`: whether the server accepts any key.

A message `beat` shows that the server is alive. A reader has a cursor in the memory and no queue:
a slow reader costs nothing, and ingestion never waits for it.

Threads: each stream runs in the thread of its connection.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, NamedTuple

from whisperr.dev._memory.arrivals import Cursor
from whisperr.dev._memory.filter import make_filter
from whisperr.dev._memory.to_json import MAX_NAME_CHARS, arrival_to_text, request_to_json

from .api import parse_query, select_filters

if TYPE_CHECKING:
    from collections.abc import Iterator
    from threading import Event

    from whisperr.dev._ingest.model import ReceivedRequest
    from whisperr.dev._memory.arrivals import Arrivals
    from whisperr.dev._memory.filter import Predicate
    from whisperr.dev.faults import FaultInjector

PATH = "/_dev/stream"
CHANGES = "news"  # the name of a message; readers of earlier versions rely on it
HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-store",
    "Connection": "close",
    "X-Content-Type-Options": "nosniff",
}
SEND_TIMEOUT = (
    20.0  # seconds after which a reader that reads nothing is disconnected; it may reconnect
)
MAX_STREAMS = 32

_BEAT_INTERVAL = 5.0
_GATHER_TIME = 0.05  # requests that arrive this close together become one message
_MAX_ARRIVALS = 200  # in one message
_MAX_HEADERS = 50
_BEAT = b"event: beat\ndata: {}\n\n"


class Source(NamedTuple):
    """The parts of the server that a stream reads."""

    memory: Arrivals
    injector: FaultInjector
    any_key: bool


def open_stream(source: Source, query: str, last: str | None, closing: Event) -> Iterator[bytes]:
    """Return the messages and beats for one reader, until the server closes.

    Raises ValueError for a wrong query string.
    """
    memory = source.memory
    parameters = parse_query(query)
    passes = make_filter(**select_filters(parameters))
    cursor, end = Cursor.parse(last or parameters.get("last", "")), memory.cursor()
    if cursor is not None and cursor.epoch == end.epoch:
        return _messages(source, passes, cursor, closing, fresh=False)
    cursor = Cursor(end.epoch)
    if "recent" in parameters:  # begin before the last of them that pass the filter
        recent = parameters["recent"]
        found = [one for one in memory.arrivals() if passes(one)]
        seq = found[-recent:][0].seq - 1 if found and recent else end.seq
        cursor = Cursor(end.epoch, seq, max(end.requests - recent, 0))
    return _messages(source, passes, cursor, closing, fresh=True)


def _messages(
    source: Source, passes: Predicate, cursor: Cursor, closing: Event, *, fresh: bool
) -> Iterator[bytes]:
    memory, injector = source.memory, source.injector

    def is_behind() -> bool:
        return memory.cursor() != cursor or injector.faults != faults

    while not closing.is_set():
        changes, faults = memory.changes(cursor, _MAX_ARRIVALS), injector.faults
        cursor = changes.cursor
        summary = memory.summary()
        del summary["types"]  # there may be many; the page counts those that it holds
        fields = {
            "fresh": fresh or changes.fresh,
            "missed": changes.missed,
            "more": changes.more,
            "requests": [_to_json(request) for request in changes.requests],
            "summary": summary,
            "faults": [fault.to_json() for fault in faults],
            "oldest": changes.oldest,
            "any_key": source.any_key,
        }
        fresh = False
        arrivals = ",".join(arrival_to_text(one) for one in changes.arrivals if passes(one))
        data = f'{json.dumps(fields)[:-1]}, "arrivals": [{arrivals}]}}'
        yield f"event: {CHANGES}\nid: {cursor}\ndata: {data}\n\n".encode()
        if changes.more:
            continue
        closing.wait(_GATHER_TIME)
        while not memory.wait_until(is_behind, _BEAT_INTERVAL):
            if closing.is_set():
                return
            yield _BEAT


def _to_json(request: ReceivedRequest) -> dict[str, Any]:
    fields = request_to_json(request)
    headers = list(fields["headers"].items())[:_MAX_HEADERS]
    return {
        **fields,
        "path": request.path[:MAX_NAME_CHARS],
        "headers": {name[:MAX_NAME_CHARS]: value[:MAX_NAME_CHARS] for name, value in headers},
        "digest": hashlib.blake2b(request.body, digest_size=8).hexdigest(),
    }
