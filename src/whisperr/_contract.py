"""Step 6: a batch becomes a request, an answer becomes an outcome.

Pure, and the only file that knows the contract of the ingestion service: paths, headers, the
shape of bodies, what each status means. Its law is the public contract, cited as CONTRACT.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

SDK_NAME = "whisperr-python"
BASE_URL = "https://api.whisperr.net"

MAX_BATCH_EVENTS = 500
# The server's own limit is not documented; half a megabyte keeps a request well within what
# edges in front of services take (CONTRACT: over the limit is 413).
MAX_BATCH_BYTES = 512 * 1024

RESERVED_CONTEXT_KEY = "$message_id"

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

EVENTS_PATH = "/v1/events/batch"
IDENTIFY_PATH = "/v1/identify"
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


def is_key_accepted(status: int) -> bool | None:
    """Say what the answer to an empty request says about the key; None when nothing.

    A key is judged before a body: who refuses the body, or takes it, has accepted the key.
    """
    if classify(status) == AUTH:
        return False
    return True if status == 400 or classify(status) == OK else None  # noqa: PLR2004  # CONTRACT


def get_headers(api_key: str, version: str) -> dict[str, str]:
    """Return the headers of every request (CONTRACT: the default agent is refused with 403)."""
    return {
        "Content-Type": "application/json",
        "User-Agent": f"{SDK_NAME}/{version}",
        "X-API-Key": api_key,
    }


def classify(status: int | None) -> str:
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
