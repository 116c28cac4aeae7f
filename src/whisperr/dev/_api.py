"""The JSON API under `/_dev/`, for tests in any language and for people: ask, wait, rehearse.

GET  /_dev/arrivals   kind, user, type, status, after, limit
GET  /_dev/requests   after, limit
GET  /_dev/summary
GET  /_dev/wait       count, timeout, and the filters of arrivals: answers when they are there
GET  /_dev/faults     and PUT: a list of faults
POST /_dev/reset
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from ._judge import Malformed, json_of
from ._service import Reply, refusal
from .faults import Fault

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ._arrivals import Arrival, ReceivedRequest
    from ._server import LocalServer

PREFIX = "/_dev/"
_LIMIT = 500
_MAX_WAIT = 60.0
_FILTERS = ("kind", "user", "type", "status")
_NUMBERS: dict[str, Callable[[str], float]] = {
    "after": int,
    "limit": int,
    "count": int,
    "timeout": float,
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
        return call(server, _asked(query), body)
    except (ValueError, TypeError) as error:
        return refusal(400, "bad_call", str(error))
    except Malformed as error:
        return refusal(400, error.code, str(error))


def arrival_json(arrival: Arrival) -> dict[str, Any]:
    """Return an arrival as the API shows it."""
    return {**asdict(arrival), "message_id": arrival.message_id}


def request_json(request: ReceivedRequest) -> dict[str, Any]:
    """Return a request as the API shows it, with its key masked."""
    fields = asdict(request)
    headers = {name: _masked(name, value) for name, value in request.headers.items()}
    return {**fields, "headers": headers, "body": request.body.decode("utf-8", "replace")}


def _masked(name: str, value: str) -> str:
    if name not in {"x-api-key", "authorization"}:
        return value
    return f"{value[:4]}…" if value.startswith(("wrk_", "wpk_")) else "…"


def _asked(query: str) -> dict[str, Any]:
    asked: dict[str, Any] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name in _NUMBERS:
            try:
                asked[name] = _NUMBERS[name](value)
            except ValueError:
                raise ValueError(f"{name}={value!r}: must be a number") from None
        elif name in _FILTERS:
            asked[name] = value
        else:
            allowed = ", ".join([*_FILTERS, *_NUMBERS])
            raise ValueError(f"{name}: unknown; allowed: {allowed}")
    return asked


def _filters(asked: Mapping[str, Any]) -> dict[str, Any]:
    return {name: asked[name] for name in (*_FILTERS, "after") if name in asked}


def _arrivals(server: LocalServer, asked: dict[str, Any], _body: bytes) -> Reply:
    found = server.arrivals(**_filters(asked))[-max(asked.get("limit", _LIMIT), 1) :]
    return Reply(200, {"arrivals": [arrival_json(arrival) for arrival in found]})


def _requests(server: LocalServer, asked: dict[str, Any], _body: bytes) -> Reply:
    found = server.requests(asked.get("after", 0))[-max(asked.get("limit", _LIMIT), 1) :]
    return Reply(200, {"requests": [request_json(request) for request in found]})


def _summary(server: LocalServer, _asked: dict[str, Any], _body: bytes) -> Reply:
    return Reply(200, server.summary())


def _wait(server: LocalServer, asked: dict[str, Any], _body: bytes) -> Reply:
    count = asked.get("count", 1)
    timeout = min(asked.get("timeout", _MAX_WAIT), _MAX_WAIT)
    reached = server.wait_until(lambda: len(server.arrivals(**_filters(asked))) >= count, timeout)
    found = server.arrivals(**_filters(asked))[:_LIMIT]
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
    "requests": _requests,
    "summary": _summary,
    "wait": _wait,
    "faults": _faults,
}
_WRITES: dict[str, Callable[[LocalServer, dict[str, Any], bytes], Reply]] = {
    "faults": _set_faults,
    "reset": _reset,
}
