"""Step 6: a batch becomes a request, an answer becomes an outcome.

Pure, and the only file that knows the contract of the ingestion service: paths, headers, the
shape of bodies, what each status means. Its law is the public contract, cited as CONTRACT.
"""

from __future__ import annotations

from ._imports import json_loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SDK_NAME = "whisperr-python"
BASE_URL = "https://api.whisperr.net"

MAX_BATCH_EVENTS = 500
# The server's own limit is not documented; half a megabyte keeps a request well within what
# edges in front of services take (CONTRACT: over the limit is 413).
MAX_BATCH_BYTES = 512 * 1024

RESERVED_CONTEXT_KEY = "$message_id"

# What an encoded event and an encoded identify begin with. Both are JSON objects whose order of
# keys is ours to choose; choosing different first keys lets bytes alone say what they are.
EVENT_HEAD = b'{"event_type":"'
IDENTIFY_HEAD = b'{"external_user_id":'

CHANNELS = ("email", "sms", "push")
PUSH_KINDS = ("fcm", "apns", "expo", "onesignal_sub")
PUSH_FIELDS: dict[str, tuple[str, ...]] = {
    "kind": PUSH_KINDS,
    "platform": ("ios", "android", "web", "macos", "windows", "linux"),
    "push_env": ("production", "sandbox"),
    "client_app_id": (),
    "provider_project": (),
}
"""The keys of a push channel and their closed lists; an empty list allows any string."""

_EVENTS_PATH = "/v1/events/batch"
_IDENTIFY_PATH = "/v1/identify"
_FRAME = b'{"events":[]}'
_FRAME_BYTES = len(_FRAME)
_LONGEST_CODE = 64
_IN_CODES = frozenset("abcdefghijklmnopqrstuvwxyz0123456789_")

# Classes of an answer; what is done for each is decided in `_delivery`.
OK = "ok"
AUTH = "auth"
RETRY = "retry"
SPLIT = "split"
HALVE = "halve"
DROP = "drop"


class Request:
    """One request to the service: its path, and its body as JSON in UTF-8.

    The transport adds the base URL and the headers, so that no value that travels through the
    client holds the key.
    """

    __slots__ = ("body", "path")

    path: str
    body: bytes

    def __init__(self, path: str, body: bytes) -> None:
        self.path = path
        self.body = body


class Answer:
    """What came back: the status, the headers with lower-case names, the body (maybe shortened)."""

    __slots__ = ("body", "headers", "status")

    status: int
    headers: Mapping[str, str]
    body: bytes

    def __init__(
        self, status: int, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> None:
        self.status = status
        self.headers = headers or {}
        self.body = body


def is_identify(data: bytes) -> bool:
    """Say whether encoded bytes are an identify; everything else is an event."""
    return data.startswith(IDENTIFY_HEAD)


def split_at_user(data: bytes, user: str) -> tuple[bytes, bytes]:
    """Return what stands before and after the user in an encoded event or identify.

    The first match is the right one: what comes before the user is a head and an event type,
    which has no quotation marks.
    """
    head, name, tail = data.partition(b'"external_user_id":')
    return head + name, tail[len(user) + 2 :]


class Run:
    """A batch while it is filled: a run of events, or one identify, which goes alone (CONTRACT).

    At most `max_events` and MAX_BATCH_BYTES, but at least one: an event that is larger than
    that by itself is for the server to judge.
    """

    __slots__ = ("_alone", "_bytes", "_max_events", "events")

    def __init__(self, max_events: int) -> None:
        self.events: list[bytes] = []
        self._max_events = max_events
        self._bytes = _FRAME_BYTES
        self._alone = False

    def add(self, data: bytes) -> bool:
        """Add the next event in line; False, and nothing added, when it must wait."""
        size = self._bytes + len(data) + 1
        if not self.events:
            self._alone = is_identify(data)
        elif (
            self._alone
            or len(self.events) >= self._max_events
            or size > MAX_BATCH_BYTES
            or data.startswith(IDENTIFY_HEAD)  # `is_identify`, without a call for every event
        ):
            return False
        self.events.append(data)
        self._bytes = size
        return True


def run_of(events: list[bytes]) -> list[bytes]:
    """Return the first of `events` that one request takes: nearly always all of them.

    That is seen without looking at each: what sorts before IDENTIFY_HEAD does not begin with it.
    """
    size = _FRAME_BYTES + sum(map(len, events)) + len(events)
    if size <= MAX_BATCH_BYTES and max(events, default=b"") < IDENTIFY_HEAD:
        return events
    run = Run(len(events))
    for data in events:
        if not run.add(data):
            break
    return run.events


def request_of(batch: Sequence[bytes]) -> Request:
    """Return the request for a run of events or for one identify; bytes are joined, not remade."""
    if not batch:
        return Request(_EVENTS_PATH, _FRAME)
    if is_identify(batch[0]):
        return Request(_IDENTIFY_PATH, batch[0])
    # The frame joins the first and the last event, so that the whole is copied once and not thrice.
    first, last = _FRAME[:-2], _FRAME[-2:]
    events = [first + batch[0], *batch[1:]]
    events[-1] += last
    return Request(_EVENTS_PATH, b",".join(events))


def empty_request() -> Request:
    """Return a request without events: the server refuses it and stores nothing (CONTRACT: 400)."""
    return request_of(())


def key_is_good(status: int) -> bool | None:
    """Say what the answer to an empty request says about the key; None when nothing.

    A key is judged before a body: who refuses the body, or takes it, has accepted the key.
    """
    if outcome_of(status) == AUTH:
        return False
    return True if status == 400 or outcome_of(status) == OK else None  # noqa: PLR2004  # CONTRACT


def headers_of(api_key: str, version: str) -> dict[str, str]:
    """Return the headers of every request (CONTRACT: the default agent is refused with 403)."""
    return {
        "Content-Type": "application/json",
        "User-Agent": f"{SDK_NAME}/{version}",
        "X-API-Key": api_key,
    }


def outcome_of(status: int | None) -> str:
    """Say what an HTTP status means for the batch; None means that no answer came.

    No answer is RETRY even though the server may have the batch: the message id makes a second
    copy harmless, a lost event is not. A redirect is RETRY and never followed: the key must not
    travel to another host, and a redirected POST can arrive as a GET.
    """
    if status is None or status == 408 or status == 429:  # noqa: PLR1714, PLR2004  # named in CONTRACT
        return RETRY
    if status in (401, 403):
        return AUTH
    if status == 413:  # noqa: PLR2004  # CONTRACT: body too large
        return SPLIT
    if status in (400, 422):
        return HALVE
    family = status // 100
    return OK if family == 2 else DROP if family == 4 else RETRY  # noqa: PLR2004  # 2xx, 4xx


def rejected_of(body: bytes) -> int:
    """Return `rejected` of a 202: how many events of the batch failed the check of their shape."""
    value = _member(body, "rejected")
    return value if isinstance(value, int) and value > 0 and value is not True else 0


def code_of(body: bytes) -> str | None:
    """Return the server's error code when it is one word: free text may repeat a payload."""
    for name in ("code", "error"):
        value = _member(body, name)
        if isinstance(value, str) and _is_code(value):
            return value
    return None


def _is_code(text: str) -> bool:
    return (
        0 < len(text) <= _LONGEST_CODE
        and text[0] not in "0123456789_"
        and _IN_CODES.issuperset(text)
    )


def _member(body: bytes, name: str) -> object:
    try:
        answer = json_loads()(body)
    except (ValueError, RecursionError):
        return None
    return answer.get(name) if isinstance(answer, dict) else None
