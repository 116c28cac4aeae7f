"""The ingestion service without sockets, faults or threads: a request becomes a response.

Invariant: an arrival is made for every event of a batch that could be read, valid or not.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .model import BATCH_PATH, IDENTIFY_PATH, TRACK_PATH, to_arrival
from .validation import Malformed, parse_batch, parse_body, validate_event, validate_identify

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .model import Arrival, ArrivalKind, ReceivedRequest

_PATHS = (BATCH_PATH, TRACK_PATH, IDENTIFY_PATH)


@dataclass(frozen=True)
class Response:
    """A status, a body (JSON, or bytes of another type) and further headers."""

    status: int
    body: Mapping[str, Any] | bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = "application/json"

    @property
    def data(self) -> bytes:
        """The encoded body. JSON is in ASCII, because a lone surrogate has no UTF-8."""
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


def refuse(
    status: int, code: str, message: str, headers: Mapping[str, str] | None = None
) -> Response:
    """Return the response to a request that is refused as a whole."""
    return Response(status, {"error": code, "message": message}, headers or {})


def ingest(
    request: ReceivedRequest, api_key: str | None, *, legacy: bool = False
) -> tuple[Response, list[Arrival]]:
    """Validate one request; return the documented response and the arrivals, not yet numbered.

    `api_key` is the only key that is accepted; None accepts any. `legacy`: one bad event fails
    its batch.
    """
    path, now = request.path, request.received_at
    refusal = _check_headers(path, request.headers, api_key)
    if refusal is not None:
        return refusal, []
    try:
        if path == BATCH_PATH:
            return _ingest_batch(parse_batch(request.body), now, legacy=legacy)
        value = parse_body(request.body)
    except Malformed as error:
        return refuse(400, error.code, str(error)), []
    kind: ArrivalKind
    if path == TRACK_PATH:
        kind, problems = "event", validate_event(value, now)
        answer: dict[str, Any] = {"event": {"mapping_status": "pending"}, "processing": "queued"}
    else:
        kind, problems = "identify", validate_identify(value)
        answer = {"processing": "queued"}
    response = Response(202, answer)
    if problems:
        response = refuse(400, f"invalid_{kind}", str(problems[0]))
    return response, [to_arrival(kind, value, problems, now=now)]


def _check_headers(path: str, headers: Mapping[str, str], api_key: str | None) -> Response | None:
    if path not in _PATHS:
        return refuse(404, "not_found", f"POST to one of {', '.join(_PATHS)}")
    agent = headers.get("user-agent", "")
    if not agent or agent.startswith("Python-urllib"):
        return refuse(403, "agent_refused", "the default agent is refused; send one of your own")
    key = headers.get("x-api-key") or headers.get("authorization", "").removeprefix("Bearer ")
    if not key or (api_key is not None and key != api_key):
        return refuse(401, "invalid_api_key", "send the server key in X-API-Key")
    if headers.get("content-type", "").split(";")[0].strip().lower() != "application/json":
        return refuse(415, "content_type", "send Content-Type: application/json")
    return None


def _ingest_batch(
    events: Sequence[Any], now: float, *, legacy: bool
) -> tuple[Response, list[Arrival]]:
    arrivals = [
        to_arrival("event", event, validate_event(event, now), now=now, index=index)
        for index, event in enumerate(events)
    ]
    refused = [arrival for arrival in arrivals if arrival.status == "refused"]
    if refused and legacy:
        return refuse(400, "invalid_event", str(refused[0].problems[0])), refused
    body = {"accepted": len(arrivals) - len(refused), "rejected": len(refused)}
    return Response(202, body), arrivals
