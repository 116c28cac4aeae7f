"""The JSON API under `/_dev/`, for tests in any language and for people: ask, wait, rehearse.

GET  /_dev/arrivals   kind, user, type, status, q (the filter box of the page), after, limit
GET  /_dev/arrival    seq: one of them with its text as sent and its request
GET  /_dev/requests   after, limit
GET  /_dev/summary
GET  /_dev/wait       count, timeout, and the filters of arrivals: answers when they are there
GET  /_dev/faults     and PUT: a list of faults
POST /_dev/reset
GET  /_dev/stream     server-sent events, see `_stream`
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from whisperr.dev._ingest.hints import fix_of
from whisperr.dev._ingest.raw import event_text
from whisperr.dev._ingest.service import BATCH_PATH, Reply, refusal
from whisperr.dev._ingest.validation import Malformed, json_of
from whisperr.dev.faults import Fault

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from whisperr.dev._memory.arrivals import Arrival, ReceivedRequest

    from .server import LocalServer

PREFIX = "/_dev/"
_LIMIT = 500
_MAX_WAIT = 60.0
_FILTERS = ("kind", "user", "type", "status", "q")
_NUMBERS: dict[str, Callable[[str], float]] = {
    "after": int,
    "limit": int,
    "count": int,
    "timeout": float,
    "seq": int,
    "recent": int,
}


def answered(server: LocalServer, method: str, path: str, query: str, body: bytes) -> Reply:
    """Answer one call of the API; what is wrong with it is said with 400, 404 or 405."""
    name = path.removeprefix(PREFIX)
    calls = {"GET": _READS, "PUT": _WRITES, "POST": _WRITES}.get(method, {})
    call = calls.get(name)
    if call is None:
        known = name in _READS or name in _WRITES
        return refusal(405 if known else 404, "no_such_call", f"{method} {path}: not in the API")
    try:
        return call(server, asked_of(query), body)
    except (ValueError, TypeError) as error:
        return refusal(400, "bad_call", str(error))
    except Malformed as error:
        return refusal(400, error.code, str(error))


def arrival_json(arrival: Arrival) -> dict[str, Any]:
    """Return an arrival as the API shows it."""
    return {
        "seq": arrival.seq,
        "received_at": arrival.received_at,
        "kind": arrival.kind,
        "status": arrival.status,
        "user": arrival.user,
        "type": arrival.type,
        "request": arrival.request,
        "index": arrival.index,
        "message_id": arrival.message_id,
        "problems": [
            {
                "pointer": problem.pointer,
                "found": problem.found,
                "expected": problem.expected,
                "fix": fix_of(problem),
            }
            for problem in arrival.problems
        ],
        "body": arrival.body,
    }


def request_json(request: ReceivedRequest) -> dict[str, Any]:
    """Return a request as the API shows it, with its key masked."""
    return {**request_line(request), "body": request.body.decode("utf-8", "replace")}


def request_line(request: ReceivedRequest) -> dict[str, Any]:
    """Return a request without its body."""
    return {
        "number": request.number,
        "connection": request.connection,
        "received_at": request.received_at,
        "method": request.method,
        "path": request.path,
        "headers": request.masked_headers,
        "status": request.status,
        "fault": request.fault,
        "bytes": len(request.body),
    }


def asked_of(query: str) -> dict[str, Any]:
    """Return what the query string asks for; raises ValueError for what is not known."""
    asked: dict[str, Any] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name in _NUMBERS:
            try:
                asked[name] = _NUMBERS[name](value)
            except ValueError:
                raise ValueError(f"{name}={value!r}: must be a number") from None
        elif name in {*_FILTERS, "last"}:
            asked[name] = value
        else:
            allowed = ", ".join([*_FILTERS, *_NUMBERS])
            raise ValueError(f"{name}: unknown; allowed: {allowed}")
    return asked


def filters_of(asked: Mapping[str, Any]) -> dict[str, Any]:
    """Return those that choose arrivals."""
    return {name: asked[name] for name in (*_FILTERS, "after") if name in asked}


def _arrivals(server: LocalServer, asked: dict[str, Any], _body: bytes) -> Reply:
    found = server.arrivals(**filters_of(asked))[-max(asked.get("limit", _LIMIT), 1) :]
    return Reply(200, {"arrivals": [arrival_json(arrival) for arrival in found]})


def _arrival(server: LocalServer, asked: dict[str, Any], _body: bytes) -> Reply:
    seq = asked.get("seq", 0)
    found = next((one for one in server.arrivals(after=seq - 1) if one.seq == seq), None)
    if found is None:
        return refusal(404, "not_kept", f"seq={seq}: is not, or no longer, kept")
    request = server.request(found.request)
    if request is None:
        return Reply(200, {"arrival": arrival_json(found), "raw": None, "request": None})
    text = event_text(request.body, found.index) if request.path == BATCH_PATH else None
    raw = request.body.decode("utf-8", "replace") if text is None else text
    line = request_line(request)
    return Reply(200, {"arrival": arrival_json(found), "raw": raw, "request": line})


def _requests(server: LocalServer, asked: dict[str, Any], _body: bytes) -> Reply:
    found = server.requests(asked.get("after", 0))[-max(asked.get("limit", _LIMIT), 1) :]
    return Reply(200, {"requests": [request_json(request) for request in found]})


def _summary(server: LocalServer, _asked: dict[str, Any], _body: bytes) -> Reply:
    return Reply(200, server.summary())


def _wait(server: LocalServer, asked: dict[str, Any], _body: bytes) -> Reply:
    count = asked.get("count", 1)
    timeout = min(asked.get("timeout", _MAX_WAIT), _MAX_WAIT)
    reached = server.wait_until(lambda: len(server.arrivals(**filters_of(asked))) >= count, timeout)
    found = server.arrivals(**filters_of(asked))[:_LIMIT]
    return Reply(
        200, {"reached": reached, "arrivals": [arrival_json(arrival) for arrival in found]}
    )


def _faults(server: LocalServer, _asked: dict[str, Any], _body: bytes) -> Reply:
    return Reply(200, {"faults": [fault.to_json() for fault in server.faults]})


def _set_faults(server: LocalServer, asked: dict[str, Any], body: bytes) -> Reply:
    given = json_of(body)
    if not isinstance(given, list):
        raise TypeError('the body must be a list of faults, such as [{"kind": "hang"}]')
    server.set_faults(*(Fault.from_json(fault) for fault in given))
    return _faults(server, asked, body)


def _reset(server: LocalServer, _asked: dict[str, Any], _body: bytes) -> Reply:
    server.reset()
    return Reply(200, server.summary())


_READS: dict[str, Callable[[LocalServer, dict[str, Any], bytes], Reply]] = {
    "arrivals": _arrivals,
    "arrival": _arrival,
    "requests": _requests,
    "summary": _summary,
    "wait": _wait,
    "faults": _faults,
}
_WRITES: dict[str, Callable[[LocalServer, dict[str, Any], bytes], Reply]] = {
    "faults": _set_faults,
    "reset": _reset,
}
