"""Describes in one line what the server answered, or why no answer came, and what to do. Pure.

Of an answer's body only an error code of one word is repeated: a server that echoes would put
events into the log.
"""

from __future__ import annotations

from whisperr._contract import (
    AFTER_THREE,
    AFTER_TWO,
    AT_ONCE,
    AUTH,
    DOCTOR,
    WRONG_PATH,
    Failure,
)
from whisperr._foreign import printable
from whisperr._process.interruption import belongs_to_caller

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from whisperr._contract import Answer

    class Peer(Protocol):
        """The part of a transport that messages need."""

        @property
        def peer(self) -> str:
            """The host and port that answered the last request, and the proxy if there is one."""

        @property
        def host(self) -> str | None:
            """The host and port of the server; None if they are not known."""

        @property
        def base_url(self) -> str:
            """Where requests are sent."""

        def explain(self, error: Exception) -> Failure:
            """Return why the last request got no answer."""


_TIMED_OUT = 408
_LONGEST_TEXT = 200
_IN_PATHS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789_ABCDEFGHIJKLMNOPQRSTUVWXYZ/.-")


class _Unknown:
    """The peer of a custom transport, whose server is unknown."""

    peer = "the server"
    host = None
    base_url = "set in the transport"

    def explain(self, error: Exception) -> Failure:
        """Return why no answer came; a custom transport may raise anything."""
        name = type(error).__name__
        try:
            text = f"{name}: {error}"
        except Exception as another:  # a foreign exception's `__str__` is foreign code
            if belongs_to_caller(another):
                raise
            text = name
        return Failure(f"no answer: {printable(text, _LONGEST_TEXT)}", DOCTOR, AFTER_TWO)


UNKNOWN: Peer = _Unknown()
NOTHING = Failure("no answer: the transport returned None", DOCTOR, AFTER_TWO)


def describe(answer: Answer, outcome: str, code: str | None, peer: Peer, *, page: bool) -> Failure:
    """Return the description of an answer that is not a plain success, with its error code if any.

    `outcome` is its class; `page`: whether it is a web page, which the service never sends.
    """
    status = f"HTTP {answer.status}" + (f" {code}" if code else "")
    if outcome == WRONG_PATH:
        text = f"{peer.peer} does not serve the whisperr API at this path ({status})"
        if page and answer.status not in (404, 405):
            text = f"{peer.peer} is not the whisperr API: it sent a web page ({status})"
        return Failure(text, f"correct base_url (now {peer.base_url}); {DOCTOR}", AT_ONCE)
    if outcome == AUTH:
        what = "the API key" if answer.status == 401 else "the API key or the request"  # noqa: PLR2004  # CONTRACT
        hint = f"set WHISPERR_API_KEY or api_key= to a valid server key; {DOCTOR}"
        return Failure(f"{peer.peer} refused {what} ({status})", hint, AT_ONCE)
    text = f"{peer.peer} answered {status}"
    if answer.status < 300:  # noqa: PLR2004  # 2xx
        if not page:
            return Failure(text, DOCTOR, AT_ONCE)
        text += (
            " with a web page, so it is not the whisperr API, or a proxy or sign-in page answered"
        )
        return Failure(text, f"correct base_url (now {peer.base_url}); {DOCTOR}", AT_ONCE)
    if answer.status < 400:  # noqa: PLR2004  # 3xx
        target = answer.headers.get("location")
        if target:
            text += f" with a redirect to {_get_target(target)}, which is not followed"
        return Failure(text, f"set base_url to the address of the service; {DOCTOR}", AT_ONCE)
    patience = AFTER_TWO if answer.status == _TIMED_OUT else AFTER_THREE
    return Failure(text, DOCTOR, patience)


def _get_target(location: str) -> str:
    """Return the target of a redirect without user and query.

    A path with unusual characters may repeat what was sent, and is left out.
    """
    target = location.partition("#")[0].partition("?")[0].strip()
    start, mark, rest = target.partition("//")
    host, slash, path = rest.partition("/") if mark else ("", "", target)
    path = slash + path if _IN_PATHS.issuperset(path) else ""
    shown = f"{start}{mark}{host.rpartition('@')[2]}{path}" if mark else path
    return printable(shown, _LONGEST_TEXT) or "another address"
