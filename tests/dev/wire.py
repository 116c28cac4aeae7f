"""Raw requests to a local server, so that its tests do not depend on the client."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from http.client import HTTPConnection
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from whisperr.dev import LocalServer

HEADERS = {
    "X-API-Key": "wrk_test",
    "User-Agent": "whisperr-python/0",
    "Content-Type": "application/json",
}
BATCH = "/v1/events/batch"
# A second after the time of each `event`.
NOW = datetime(2026, 6, 14, 12, 0, 1, tzinfo=timezone.utc).timestamp()


def event(message_id: str, **changes: Any) -> dict[str, Any]:
    return {
        "external_user_id": "user_1",
        "event_type": "trial_started",
        "occurred_at": "2026-06-14T12:00:00.000Z",
        "properties": {},
        "context": {"$message_id": message_id},
        **changes,
    }


def call(
    server: LocalServer,
    method: str,
    path: str,
    body: object = None,
    headers: dict[str, str] | None = None,
) -> tuple[int, Any]:
    """Make one request on a connection of its own; return the status and the JSON."""
    connection = HTTPConnection("127.0.0.1", server.port, timeout=30)
    data = body if isinstance(body, bytes) else None if body is None else json.dumps(body)
    try:
        connection.request(method, path, data, HEADERS if headers is None else headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def post(server: LocalServer, path: str, body: object, **changes: str | None) -> tuple[int, Any]:
    """POST with the headers of the contract, changed by name; None leaves one out."""
    headers: dict[str, str | None] = {**HEADERS, **changes}
    kept = {name: value for name, value in headers.items() if value is not None}
    return call(server, "POST", path, body, kept)
