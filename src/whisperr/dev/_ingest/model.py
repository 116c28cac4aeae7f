"""What the local server receives, as values: a request, an arrival, and what is wrong with it."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Literal

from whisperr._foreign import printable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ArrivalKind = Literal["event", "identify"]
ArrivalStatus = Literal["accepted", "duplicate", "refused"]

BATCH_PATH = "/v1/events/batch"
TRACK_PATH = "/v1/events/track"
IDENTIFY_PATH = "/v1/identify"
PATHS = (BATCH_PATH, TRACK_PATH, IDENTIFY_PATH)

_MAX_REPR_CHARS = 100
_SECRET_HEADERS = {"x-api-key", "authorization", "proxy-authorization", "cookie"}


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a body.

    Attributes:
        pointer: Where it is in the body, as a JSON pointer (RFC 6901); `""` is the body itself.
        found: What arrived there.
        expected: What is allowed there.
    """

    pointer: str
    found: str
    expected: str

    def __str__(self) -> str:
        return f"{self.pointer or 'the body'}: {self.found}; expected {self.expected}"


@dataclass(frozen=True)
class ReceivedRequest:
    """One request as it arrived, and the answer to it.

    Attributes:
        number: The number of the request, from 1.
        connection: The number of its connection, from 1.
        received_at: When it arrived, in seconds since 1970.
        method: The HTTP method.
        path: The path.
        headers: The headers, with lower-case names. They contain the key.
        body: The body.
        status: The HTTP status of the answer; None when the server gave no answer.
        fault: The injected fault that the request met; None without one.
        error: Why it was refused as a whole, as a code; None when it was not.
        reason: The same in words.
        duration: Seconds until its answer, or until the server decided to give none.
        accepted: How many of its events and identifies were accepted.
        duplicates: How many of them had arrived before.
        refused: How many of them were refused.
    """

    number: int
    connection: int
    received_at: float
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    status: int | None
    fault: str | None
    error: str | None = None
    reason: str | None = None
    duration: float = 0.0
    accepted: int = 0
    duplicates: int = 0
    refused: int = 0

    def __repr__(self) -> str:
        """Return what a log may have: neither the headers, with the key, nor the body."""
        answered = "no answer" if self.status is None else f"HTTP {self.status}"
        fault = f", injected: {self.fault}" if self.fault else ""
        line = printable(f"{self.method} {self.path}", _MAX_REPR_CHARS)
        return f"<ReceivedRequest {self.number}: {line}, {len(self.body)} bytes, {answered}{fault}>"

    @property
    def events(self) -> int:
        """How many events it has; of a request that was not read, how many have a user."""
        if self.status is not None and self.status // 100 == 2:  # noqa: PLR2004  # 2xx
            return self.accepted + self.duplicates + self.refused
        if self.path == BATCH_PATH:
            return self.body.count(b'"external_user_id"')
        return int(self.path in PATHS and bool(self.body))

    @property
    def masked_headers(self) -> dict[str, str]:
        """The headers as they may be shown and stored, with only the kind of the key."""
        return {name: _mask(name, value) for name, value in self.headers.items()}


def _mask(name: str, value: str) -> str:
    if name not in _SECRET_HEADERS:
        return value
    return f"{value[:4]}…" if value.startswith(("wrk_", "wpk_")) else "…"


@dataclass(frozen=True)
class Arrival:
    """One event or identify as it arrived.

    Attributes:
        seq: Its number among all arrivals, from 1.
        received_at: When it arrived, in seconds since 1970.
        kind: `"event"` or `"identify"`.
        status: `"accepted"`; `"duplicate"`, when its `$message_id` had arrived before; or
            `"refused"`.
        user: Its `external_user_id`; None when that is missing or no string.
        type: Its `event_type`; None for an identify, or when that is missing or no string.
        request: The number of its request.
        body: The decoded JSON.
        problems: Why it was refused; empty otherwise.
        index: Its position in the request, from 0.
    """

    seq: int
    received_at: float
    kind: ArrivalKind
    status: ArrivalStatus
    user: str | None
    type: str | None
    request: int
    body: Any
    problems: tuple[Problem, ...] = ()
    index: int = 0

    @property
    def message_id(self) -> str | None:
        """The `$message_id` of an event; None for an identify."""
        context = self.body.get("context") if isinstance(self.body, dict) else None
        value = context.get("$message_id") if isinstance(context, dict) else None
        return value if isinstance(value, str) else None

    def matches(
        self,
        *,
        kind: str | None = None,
        user: str | None = None,
        type: str | None = None,  # noqa: A002  # the word of the filter
        status: str | None = None,
        after: int = 0,
        before: int | None = None,
    ) -> bool:
        """Return whether it passes every filter that is given.

        Args:
            kind: `"event"` or `"identify"`.
            user: The user's id.
            type: The type of event, with wildcards such as `"payment_*"`.
            status: `"accepted"`, `"duplicate"` or `"refused"`.
            after: Only a larger `seq` passes.
            before: Only a smaller `seq` passes.
        """
        return (
            self.seq > after
            and (before is None or self.seq < before)
            and kind in {None, self.kind}
            and user in {None, self.user}
            and status in {None, self.status}
            and (type is None or (self.type is not None and fnmatchcase(self.type, type)))
        )


def to_arrival(
    kind: ArrivalKind,
    body: Any,  # noqa: ANN401  # any JSON value may have been sent
    problems: Sequence[Problem],
    *,
    now: float,
    index: int = 0,
) -> Arrival:
    """Return the arrival of one validated body; the memory numbers it and its request."""
    fields = body if isinstance(body, dict) else {}
    user, name = fields.get("external_user_id"), fields.get("event_type")
    return Arrival(
        seq=0,
        received_at=now,
        kind=kind,
        status="refused" if problems else "accepted",
        user=user if isinstance(user, str) else None,
        type=name if isinstance(name, str) else None,
        request=0,
        body=body,
        problems=tuple(problems),
        index=index,
    )
