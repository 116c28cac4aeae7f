"""The JSON API under `/_dev/`, for tests in any language and for people.

GET  /_dev/arrivals   kind, user, type, status, q (the filter box of the page), after, before,
                      limit; short=1 leaves out bodies that are very large or have no JSON
GET  /_dev/arrival    seq: one of them with its text as sent and its request
GET  /_dev/requests   after, limit
GET  /_dev/request    number: one of them with its body and its arrivals
GET  /_dev/summary
GET  /_dev/wait       count, timeout, and the filters of arrivals: answers when there are enough
GET  /_dev/faults     and PUT: a list of faults
POST /_dev/reset
GET  /_dev/stream     server-sent events, see `stream`
"""

from __future__ import annotations

import json
import re
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qsl

from whisperr._foreign import printable
from whisperr.dev._ingest.service import Response, refuse
from whisperr.dev._ingest.validation import Malformed, parse_body
from whisperr.dev._memory.to_json import (
    arrival_to_json,
    arrival_to_text,
    decode,
    find_arrival,
    find_request,
    find_sent_text,
    has_json,
    request_to_json,
)
from whisperr.dev.faults import Fault

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from whisperr.dev._ingest.model import Arrival, ReceivedRequest
    from whisperr.dev._memory.arrivals import Arrivals
    from whisperr.dev.faults import FaultInjector

    _Answer = Mapping[str, Any] | Response

PREFIX = "/_dev/"
_LIMIT = 500
_MAX_WAIT = 60.0  # a longer wait ends then; the caller makes another one
_MAX_COUNT = 2**53  # the largest whole number that every reader of JSON knows exactly
_MAX_SECONDS = 3600
_SECONDS = re.compile(r"[0-9]{0,9}\.?[0-9]{1,20}(?:e-?[0-9]{1,3})?")
_MAX_SHOWN_CHARS = 60
_FILTERS = ("kind", "user", "type", "status", "q")


def _parse_whole(text: str, lowest: int = 0) -> int:
    digits = len(str(_MAX_COUNT))
    if not (text.isascii() and text.isdecimal() and len(text) <= digits):
        raise ValueError(f"must be a whole number from {lowest} to {_MAX_COUNT}")
    number = int(text)
    if not lowest <= number <= _MAX_COUNT:
        raise ValueError(f"must be a whole number from {lowest} to {_MAX_COUNT}")
    return number


def _parse_seconds(text: str) -> float:
    seconds = float(text) if _SECONDS.fullmatch(text) else -1.0
    if not 0 <= seconds <= _MAX_SECONDS:
        raise ValueError(f"must be a number of seconds from 0 to {_MAX_SECONDS}")
    return seconds


_PARSERS: dict[str, Callable[[str], Any]] = {
    **dict.fromkeys((*_FILTERS, "last"), str),
    **dict.fromkeys(("after", "before", "count", "number", "seq", "short", "recent"), _parse_whole),
    "limit": partial(_parse_whole, lowest=1),
    "timeout": _parse_seconds,
}


class _Call(NamedTuple):
    """One call of the API: the parts of the server that it uses, its query string, its body."""

    memory: Arrivals
    injector: FaultInjector
    query: dict[str, Any]
    body: bytes


def call(
    memory: Arrivals, injector: FaultInjector, method: str, path: str, query: str, body: bytes
) -> Response:
    """Return the response to one call; 400, 404 and 405 for a wrong call."""
    name = path.removeprefix(PREFIX)
    function = {"GET": _READS, "PUT": _WRITES, "POST": _WRITES}.get(method, {}).get(name)
    if function is None:
        known = name in _READS or name in _WRITES
        return refuse(405 if known else 404, "no_such_call", f"{method} {path}: not in the API")
    try:
        answer = function(_Call(memory, injector, parse_query(query), body))
    except (ValueError, TypeError) as error:
        return refuse(400, "bad_call", str(error))
    except Malformed as error:
        return refuse(400, error.code, str(error))
    return answer if isinstance(answer, Response) else Response(200, answer)


def parse_query(query: str) -> dict[str, Any]:
    """Return the parameters of a query string; raises ValueError for an unknown or wrong one."""
    parameters: dict[str, Any] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in _PARSERS:
            shown = printable(name, _MAX_SHOWN_CHARS)
            raise ValueError(f"{shown}: unknown; allowed: {', '.join(_PARSERS)}")
        try:
            parameters[name] = _PARSERS[name](value)
        except ValueError as error:
            shown = printable(value, _MAX_SHOWN_CHARS)
            raise ValueError(f"{name}={shown!r}: {error}") from None
    return parameters


def select_filters(query: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters that select arrivals."""
    return {name: query[name] for name in (*_FILTERS, "after", "before") if name in query}


def _arrivals(call: _Call) -> _Answer:
    found = call.memory.arrivals(**select_filters(call.query))[-call.query.get("limit", _LIMIT) :]
    if call.query.get("short"):
        return _add_arrivals({}, found)
    return {"arrivals": [arrival_to_json(arrival) for arrival in found]}


def _arrival(call: _Call) -> _Answer:
    seq = call.query.get("seq", 0)
    found = find_arrival(call.memory, seq)
    if found is None:
        return refuse(
            404, "not_kept", f"seq={seq}: the server does not have it, or no longer has it"
        )
    request = find_request(call.memory, found.request)
    fields = arrival_to_json(found)
    if not has_json(fields):
        fields = {**fields, "body": None}  # its text is in `raw`
    answer: dict[str, Any] = {"arrival": fields, "raw": None, "request": None}
    if request is not None:
        answer["raw"] = find_sent_text(request, found)
        answer["request"] = request_to_json(request)
    return answer


def _requests(call: _Call) -> _Answer:
    found = call.memory.requests(call.query.get("after", 0))[-call.query.get("limit", _LIMIT) :]
    return {"requests": [_with_body(one) for one in found]}


def _request(call: _Call) -> _Answer:
    number = call.query.get("number", 0)
    request = find_request(call.memory, number)
    if request is None:
        return refuse(
            404, "not_kept", f"number={number}: the server does not have it, or no longer has it"
        )
    own = [arrival for arrival in call.memory.arrivals() if arrival.request == number]
    return _add_arrivals({"request": _with_body(request)}, own[:_LIMIT])


def _add_arrivals(fields: Mapping[str, Any], arrivals: Iterable[Arrival]) -> Response:
    """Return an answer with these fields, and these arrivals as the stream shows them."""
    texts = ", ".join(map(arrival_to_text, arrivals))
    separator = ", " if fields else ""
    return Response(200, f'{json.dumps(fields)[:-1]}{separator}"arrivals": [{texts}]}}'.encode())


def _with_body(request: ReceivedRequest) -> dict[str, Any]:
    return {**request_to_json(request), "body": decode(request.body)}


def _wait(call: _Call) -> _Answer:
    memory, filters = call.memory, select_filters(call.query)
    count = call.query.get("count", 1)
    timeout = min(call.query.get("timeout", _MAX_WAIT), _MAX_WAIT)
    reached = memory.wait_until(lambda: len(memory.arrivals(**filters)) >= count, timeout)
    found = [arrival_to_json(arrival) for arrival in memory.arrivals(**filters)[:_LIMIT]]
    return {"reached": reached, "arrivals": found}


def _summary(call: _Call) -> _Answer:
    return call.memory.summary()


def _faults(call: _Call) -> _Answer:
    return {"faults": [fault.to_json() for fault in call.injector.faults]}


def _set_faults(call: _Call) -> _Answer:
    given = parse_body(call.body)
    if not isinstance(given, list):
        raise TypeError('the body must be a list of faults, such as [{"kind": "hang"}]')
    call.injector.set(Fault.from_json(fault) for fault in given)
    return _faults(call)


def _reset(call: _Call) -> _Answer:
    call.memory.reset()
    return _summary(call)


_READS = {
    "arrivals": _arrivals,
    "arrival": _arrival,
    "requests": _requests,
    "request": _request,
    "summary": _summary,
    "wait": _wait,
    "faults": _faults,
}
_WRITES = {"faults": _set_faults, "reset": _reset}
