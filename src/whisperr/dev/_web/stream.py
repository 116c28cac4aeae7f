"""Server-sent events of what arrives, for the page and for `whisperr tail`.

    GET /_dev/stream?recent=100&q=is:refused        Last-Event-ID: or &last=, to go on

Each message `news` is one JSON object:

- `fresh`: the reader starts over: what it holds is of another run; `missed`: how many arrivals
  were let go before they were read.
- `arrivals`, `requests`: what came, as in the API; a request has no body but a `digest` of it,
  and an arrival that is very large or cannot be written has `body` null and `cut` true.
- `summary`, `faults`: as they are now.

`beat` says that the server is there. A reader is a place in the memory, not a queue: one that is
slow costs nothing, and deliveries never wait for it.

Threads: each stream runs in the thread of its connection.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING, Any

from whisperr.dev._ingest.service import BATCH_PATH
from whisperr.dev._memory.arrivals import fits_of
from whisperr.dev._memory.cursor import Place

from .api import arrival_json, asked_of, filters_of, request_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from threading import Event

    from whisperr.dev._memory.arrivals import Arrival, ReceivedRequest
    from whisperr.dev._memory.cursor import News
    from whisperr.dev.faults import Fault

    from .server import LocalServer

PATH = "/_dev/stream"
HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-store",
    "Connection": "close",
    "X-Content-Type-Options": "nosniff",
}
SEND_BOUND = 20.0  # a reader that takes nothing for so long is let go; it can come back
MAX_STREAMS = 32

_BEAT = 5.0
_GATHER = 0.05  # several requests within a blink are one message
_MOST = 200  # arrivals in one message
_MOST_TEXT_CHARS = 32_000
_MOST_NAME_CHARS = 500
_BEAT_MESSAGE = b"event: beat\ndata: {}\n\n"


class Streams:
    """Counts the streams that are open; there is a bound."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._open = 0

    @contextmanager
    def admitted(self) -> Iterator[bool]:
        """Take a place for the time of the block; False when there is none left."""
        with self._lock:
            free = self._open < MAX_STREAMS
            self._open += free
        try:
            yield free
        finally:
            with self._lock:
                self._open -= free


def opened(server: LocalServer, query: str, last: str | None, ending: Event) -> Iterator[bytes]:
    """Return the messages of a stream; raises ValueError for what is wrong with the call."""
    asked = asked_of(query)
    fits = fits_of(**filters_of(asked))
    place = Place.read(last or asked.get("last", ""))
    fresh = place is None or place.epoch != server.place().epoch
    if place is None or fresh:
        place = _start(server, fits, asked.get("recent"))
    return _messages(server, fits, place, ending, fresh=fresh)


def _start(server: LocalServer, fits: Callable[[Arrival], bool], recent: int | None) -> Place:
    """Return the place from which the last `recent` arrivals that fit are still to come."""
    end = server.place()
    if recent is None:
        return Place(end.epoch)
    recent = max(recent, 0)
    found = [one for one in server.arrivals() if fits(one)][-recent:] if recent else []
    return Place(end.epoch, found[0].seq - 1 if found else end.seq, max(end.noted - recent, 0))


def _messages(
    server: LocalServer,
    fits: Callable[[Arrival], bool],
    place: Place,
    ending: Event,
    *,
    fresh: bool,
) -> Iterator[bytes]:
    while not ending.is_set():
        news, faults = server.news(place, _MOST), server.faults
        place = now = news.now
        yield _message(server, fits, news, faults, fresh=fresh or news.fresh)
        fresh = False
        if news.more:
            continue
        ending.wait(_GATHER)

        def changed(now: Place = now, faults: tuple[Fault, ...] = faults) -> bool:
            return server.place() != now or server.faults != faults

        while not server.wait_until(changed, _BEAT):
            if ending.is_set():
                return
            yield _BEAT_MESSAGE


def _message(
    server: LocalServer,
    fits: Callable[[Arrival], bool],
    news: News,
    faults: tuple[Fault, ...],
    *,
    fresh: bool,
) -> bytes:
    summary = server.summary()
    del summary["types"]  # may be many; the page counts those that it holds
    rest = {
        "fresh": fresh,
        "missed": news.missed,
        "more": news.more,
        "requests": [_request_json(one) for one in news.requests],
        "summary": summary,
        "faults": [fault.to_json() for fault in faults],
    }
    arrivals = ",".join(_arrival_text(one) for one in news.arrivals if fits(one))
    data = f'{json.dumps(rest)[:-1]}, "arrivals": [{arrivals}]}}'
    return f"event: news\nid: {news.now}\ndata: {data}\n\n".encode()


def _arrival_text(arrival: Arrival) -> str:
    """Write one arrival; without its body when that is very large or nothing that JSON has."""
    fields = arrival_json(arrival)
    try:
        text = json.dumps({**fields, "cut": False}, allow_nan=False)
    except (ValueError, RecursionError):  # 1e999 is infinite; a thousand brackets
        text = ""
    if text and len(text) <= _MOST_TEXT_CHARS:
        return text
    named = {name: _short(fields[name]) for name in ("user", "type", "message_id")}
    return json.dumps(
        {**fields, **named, "problems": fields["problems"][:20], "body": None, "cut": True}
    )


def _short(text: str | None) -> str | None:
    return text if text is None else text[:_MOST_NAME_CHARS]


def _request_json(request: ReceivedRequest) -> dict[str, Any]:
    digest = hashlib.blake2b(request.body, digest_size=8).hexdigest()
    events = request.body.count(b'"external_user_id"') if request.path == BATCH_PATH else 1
    return {**request_line(request), "digest": digest, "events": events}
