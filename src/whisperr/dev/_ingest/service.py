"""The ingestion service without sockets, faults or threads: a request becomes a response.

Invariant: an arrival is made for every event of a batch that could be read, valid or not.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from .model import BATCH_PATH, PATHS, TRACK_PATH, to_arrival
from .validation import Malformed, parse_batch, parse_body, validate_event, validate_identify

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .model import Arrival, ArrivalKind, ReceivedRequest

MAX_REASON_CHARS = 500
_SILENT_FAULTS = {
    "hang": "not answered, because of an injected fault",
    "cut": "connection cut before anything was accepted, because of an injected fault",
    "lose_answer": "accepted, but the answer was lost, because of an injected fault",
}
# How to fix a refused request, by its error code; other reasons already say it.
_HINTS = {
    "invalid_api_key": (
        "Set WHISPERR_API_KEY, or api_key=, to the key that --key names; "
        "a server without --key accepts any key."
    ),
    "agent_refused": "Send a User-Agent that names your program; the SDK sends its own.",
    "not_found": "Set WHISPERR_BASE_URL, or base_url=, to this server's address without a path.",
    "content_type": "Send the header Content-Type: application/json.",
    "host_not_loopback": (
        "Set WHISPERR_BASE_URL, or base_url=, to the address that whisperr dev has printed; "
        "from a container, run whisperr dev inside it."
    ),
    "tls": "Use http:// in place of https:// in WHISPERR_BASE_URL or base_url=.",
    "method": "Send it with POST.",
    "length_required": "Send the whole body with its Content-Length, not in chunks.",
    "too_large": "Send fewer events in a request, or start the server with a larger --max-body.",
    "headers_too_large": "Send fewer or shorter headers; check for large cookies.",
    "injected_fault": "Turn the fault off on the page, or start the server without it.",
    "disconnected": "The client gave up or crashed: check its log and its timeout.",
}


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
    """Return the response that refuses a whole request."""
    return Response(status, {"error": code, "message": message}, headers or {})


def get_request_hint(error: str | None) -> str | None:
    """Return how to fix a refused request; None if its reason already says it."""
    return None if error is None else _HINTS.get(error)


def with_response(
    request: ReceivedRequest, response: Response | None, fault: str | None = None
) -> ReceivedRequest:
    """Return the request with its answer, and the reason when it was refused or lost by a fault."""
    request = replace(request, fault=fault)
    if response is None:
        return replace(request, error="injected_fault", reason=_SILENT_FAULTS.get(fault or ""))
    body = response.body
    if isinstance(body, bytes) or "error" not in body:
        return replace(request, status=response.status)
    reason = str(body["message"])[:MAX_REASON_CHARS]
    return replace(request, status=response.status, error=body["error"], reason=reason)


def ingest(
    request: ReceivedRequest, api_key: str | None, *, legacy: bool = False
) -> tuple[Response, list[Arrival]]:
    """Validate one request; return the documented response and the arrivals, not yet numbered.

    - `api_key`: the only accepted key; None accepts any.
    - `legacy`: refuse the whole batch for one bad event.
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
    if path not in PATHS:
        return refuse(404, "not_found", f"no such path; POST to one of {', '.join(PATHS)}")
    agent = headers.get("user-agent", "")
    if not agent or agent.startswith("Python-urllib"):
        return refuse(403, "agent_refused", "the default User-Agent is refused; send your own")
    key = headers.get("x-api-key") or headers.get("authorization", "").removeprefix("Bearer ")
    if not key:
        return refuse(401, "invalid_api_key", "no key; send the server key in X-API-Key")
    if api_key is not None and key != api_key:
        return refuse(
            401,
            "invalid_api_key",
            "not the key that whisperr dev was started with (--key)",
        )
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
