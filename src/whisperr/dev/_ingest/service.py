"""The ingestion service itself: one judged request becomes an answer and what it brought.

It knows nothing of sockets, faults or threads.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from whisperr.dev._memory.arrivals import Arrival

from .validation import Malformed, Problem, batch_of, event_problems, identify_problems, json_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from whisperr.dev._memory.arrivals import Kind, Status

BATCH_PATH = "/v1/events/batch"
TRACK_PATH = "/v1/events/track"
IDENTIFY_PATH = "/v1/identify"
PATHS = (BATCH_PATH, TRACK_PATH, IDENTIFY_PATH)


@dataclass(frozen=True)
class Reply:
    """What is answered: a status, a body (JSON, or bytes of another type), further headers."""

    status: int
    body: Mapping[str, Any] | bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = "application/json"

    @property
    def data(self) -> bytes:
        """The body as it goes over the wire; in ASCII, since a lone surrogate is no UTF-8."""
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


def refusal(status: int, code: str, message: str) -> Reply:
    """Return the answer to a request that is refused as a whole."""
    return Reply(status, {"error": code, "message": message})


def door(path: str, headers: Mapping[str, str], api_key: str | None) -> Reply | None:
    """Check what stands before the body: path, agent, key, type; None when all is well."""
    if path not in PATHS:
        return refusal(404, "not_found", f"POST to one of {', '.join(PATHS)}")
    agent = headers.get("user-agent", "")
    if not agent or agent.startswith("Python-urllib"):
        return refusal(403, "agent_refused", "the default agent is refused; send one of your own")
    key = headers.get("x-api-key") or headers.get("authorization", "").removeprefix("Bearer ")
    if not key or (api_key is not None and key != api_key):
        return refusal(401, "invalid_api_key", "send the server key in X-API-Key")
    if headers.get("content-type", "").split(";")[0].strip().lower() != "application/json":
        return refusal(415, "content_type", "send Content-Type: application/json")
    return None


def served(
    path: str, body: bytes, *, number: int, now: float, legacy: bool = False
) -> tuple[Reply, list[Arrival]]:
    """Judge one body; return the documented answer and the arrivals, not yet numbered.

    `now` is the wall clock in seconds. `legacy`: one bad event fails its batch.
    """
    try:
        if path == BATCH_PATH:
            return _batch(batch_of(body), number, now, legacy=legacy)
        value = json_of(body)
    except Malformed as error:
        return refusal(400, error.code, str(error.problem)), []
    if path == TRACK_PATH:
        problems = event_problems(value, now)
        done: dict[str, Any] = {"event": {"mapping_status": "pending"}, "processing": "queued"}
    else:
        problems = identify_problems(value)
        done = {"processing": "queued"}
    kind: Kind = "event" if path == TRACK_PATH else "identify"
    arrival = arrival_of(kind, value, problems, number=number, now=now)
    if problems:
        return refusal(400, f"invalid_{kind}", str(problems[0])), [arrival]
    return Reply(202, done), [arrival]


def _batch(
    events: Sequence[Any], number: int, now: float, *, legacy: bool
) -> tuple[Reply, list[Arrival]]:
    arrivals = [
        arrival_of("event", event, event_problems(event, now), number=number, now=now, index=index)
        for index, event in enumerate(events)
    ]
    refused = [arrival for arrival in arrivals if arrival.status == "refused"]
    if refused and legacy:
        return refusal(400, "invalid_event", str(refused[0].problems[0])), refused
    body = {"accepted": len(arrivals) - len(refused), "rejected": len(refused)}
    return Reply(202, body), arrivals


def arrival_of(
    kind: Kind,
    body: Any,  # noqa: ANN401  # any JSON value may have been sent
    problems: Sequence[Problem],
    *,
    number: int,
    now: float,
    index: int = 0,
    seq: int = 0,
    status: Status | None = None,
) -> Arrival:
    """Return the arrival of one judged body; not yet numbered when `seq` is 0."""
    fields = body if isinstance(body, dict) else {}
    user, name = fields.get("external_user_id"), fields.get("event_type")
    return Arrival(
        seq=seq,
        received_at=now,
        kind=kind,
        status=status or ("refused" if problems else "accepted"),
        user=user if isinstance(user, str) else None,
        type=name if isinstance(name, str) else None,
        request=number,
        body=body,
        problems=tuple(problems),
        index=index,
    )
