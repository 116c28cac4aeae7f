"""Facts about the ingestion service: paths, headers, names, limits, and the class of each status.

Pure. "CONTRACT" in comments of this package means docs/reference/contract.md.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

SDK_NAME = "whisperr-python"
BASE_URL = "https://api.whisperr.net"

MAX_BATCH_EVENTS = 500
# The limit of the server is not documented (CONTRACT: a body over it is answered with 413). Half a
# megabyte is well below what usual load balancers and proxies accept.
MAX_BATCH_BYTES = 512 * 1024

# How old an event may be. It may also be up to 5 minutes ahead, which only the server checks.
MAX_AGE_DAYS = 30
MAX_ANONYMOUS_ID_CHARS = 128

RESERVED_CONTEXT_KEY = "$message_id"
# The keys of the context that the client sets.
OWN_CONTEXT_KEYS = (RESERVED_CONTEXT_KEY, "$mode", "app_version", "sdk_name", "sdk_version")

# A set, not a pattern: `re` would be a third of the time that importing the package takes.
_IN_WORDS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789")

CHANNELS = ("email", "sms", "push")
PUSH_FIELDS: dict[str, tuple[str, ...]] = {
    "kind": ("fcm", "apns", "expo", "onesignal_sub"),
    "platform": ("ios", "android", "web", "macos", "windows", "linux"),
    "push_env": ("production", "sandbox"),
    "client_app_id": (),
    "provider_project": (),
}
"""The keys of a push channel with their allowed values; an empty tuple allows any string."""

EVENTS_PATH = "/v1/events/batch"
IDENTIFY_PATH = "/v1/identify"
# Classes of an answer. `_delivery.verdict` decides what follows from each.
OK = "ok"
AUTH = "auth"
RETRY = "retry"
SPLIT = "split"
HALVE = "halve"
WRONG_PATH = "wrong path"
DROP = "drop"


def is_event_type(name: str) -> bool:
    """Return whether this is the name of an event: lowercase snake case."""
    return all(word and _IN_WORDS.issuperset(word) for word in name.split("_"))


class Request:
    """One request to the service, as `Transport.send` receives it.

    The transport adds the base URL and the headers, so that nothing else handles the key.

    Attributes:
        path (str): The path on the server, such as `"/v1/events/batch"`.
        body (bytes): JSON in UTF-8.

    .. versionadded:: 1.0
    """

    __slots__ = ("body", "path")

    def __init__(self, path: str, body: bytes) -> None:
        self.path: str = path
        self.body: bytes = body


class Answer:
    """One answer of the service, as `Transport.send` returns it.

    Attributes:
        status (int): The HTTP status.
        headers (Mapping[str, str]): The headers, with lower-case names.
        body (bytes): The body; a long one may be cut.

    .. versionadded:: 1.0
    """

    __slots__ = ("body", "headers", "status")

    def __init__(
        self, status: int, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> None:
        self.status: int = status
        self.headers: Mapping[str, str] = headers or {}
        self.body: bytes = body


class Misconfigured(OSError):  # noqa: N818  # a state of the configuration
    """Raised by a transport when no attempt can succeed until the configuration has changed.

    The client reports it at once and not after retries. The text says what is wrong.
    """


# An installed package has no pages: messages name them by a URL.
PAGES_URL = "https://github.com/WhisperrAI/whisperr-python/blob/main/docs/"
DOCTOR = 'run "whisperr doctor"'
# How many attempts in a row fail before a kind of failure is reported; worse ones count as well.
AT_ONCE = 1  # rarely recovers by itself within seconds, or is worth knowing when it does
AFTER_TWO = 2  # one slow answer, or one server that stops during a request, is nothing unusual
# Behind a load balancer a restart is a 502 or a 503 for a second or two, and the third attempt is
# made 1.5 to 3 seconds after the first; a 429 is how a server asks for patience.
AFTER_THREE = 3


class Failure:
    """Why no answer came, for people.

    - `text`: what happened, in one line, with the address.
    - `hint`: the next step.
    - `patience`: how many attempts in a row fail before it is reported.
    - `host`: host and port that the text is about; None if they are not known.
    """

    __slots__ = ("hint", "host", "patience", "text")

    def __init__(self, text: str, hint: str, patience: int, host: str | None = None) -> None:
        self.text: str = text
        self.hint: str = hint
        self.patience: int = patience
        self.host: str | None = host


def check_answer(answer: Answer) -> Answer:
    """Return what a transport returned. Raises TypeError unless it has the shape of an Answer."""
    wanted = {"status": int, "headers": object, "body": bytes}
    if not all(isinstance(getattr(answer, name, None), kind) for name, kind in wanted.items()):
        raise TypeError(
            f"the transport returned a {type(answer).__name__}; send() must return an Answer with "
            "an int as status, a mapping as headers and bytes as body"
        )
    return answer


def is_key_accepted(status: int) -> bool | None:
    """Return whether the server accepts the key, from the status of its answer to an empty request.

    None when the status does not tell. The server checks the key before the body, so a 400 for the
    body means that it accepted the key.
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
    """Return the class of an HTTP status; a `status` of None means that no answer came.

    No answer is RETRY although the server may have received the batch: it drops a second copy by
    its message id, whereas a lost event stays lost. A redirect is RETRY and is not followed: the
    key must not reach another host, and a redirected POST can arrive as a GET. A 404 or 405 says
    nothing about the events, only about the path.
    """
    if status is None or status == 408 or status == 429:  # noqa: PLR1714, PLR2004  # named in CONTRACT
        return RETRY
    if status in (401, 403):
        return AUTH
    if status == 413:  # noqa: PLR2004  # CONTRACT: body too large
        return SPLIT
    if status in (400, 422):
        return HALVE
    if status in (404, 405):
        return WRONG_PATH
    family = status // 100
    return OK if family == 2 else DROP if family == 4 else RETRY  # noqa: PLR2004  # 2xx, 4xx
