"""For the doors: the one client of this process, made from the environment on first use.

Threads: any. No lock: a forked child could find it taken for ever. When two threads come first at
the same moment, both make a client, one is kept, and the other, which has done nothing, is let go.
"""

from __future__ import annotations

from whisperr._client import Whisperr

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_ONE = "the client"
_made: dict[str, Whisperr] = {}


def get_client() -> Whisperr:
    """Return the client of this process; the first call makes it from the environment.

    WHISPERR_API_KEY is the key, WHISPERR_BASE_URL the address if it is not the default one.
    Raises ValueError when there is no key, or a wrong value.
    """
    client = _made.get(_ONE)
    return _made.setdefault(_ONE, Whisperr()) if client is None else client


def get_client_factory(client: Whisperr | Callable[[], Whisperr] | None) -> Callable[[], Whisperr]:
    """Return how to get the client that a door was given: itself, a function, or None for ours."""
    if client is None:
        return get_client
    return (lambda: client) if isinstance(client, Whisperr) else client
