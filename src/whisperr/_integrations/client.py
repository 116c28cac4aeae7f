"""The default client of a process: made on first use, and the same one from then on.

Threads: any. There is no lock, because a forked child could find it taken for ever, and a signal
handler that tracks would wait for the thread that it interrupts. When two threads come first at the
same moment, both make a client, and the one that has lost, which has done nothing, is discarded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from whisperr._client import Whisperr

if TYPE_CHECKING:
    from collections.abc import Callable


class DefaultClient:
    """Holds one client, made by a function on first use."""

    def __init__(self, make: Callable[[], Whisperr]) -> None:
        self._make = make
        self._made: dict[str, Whisperr] = {}  # `setdefault` settles a race without a lock

    def get(self) -> Whisperr:
        """Return the client; the first call makes it."""
        client = self._made.get("client")
        return self._made.setdefault("client", self._make()) if client is None else client

    def clear(self) -> Whisperr | None:
        """Return the client, if there is one, and forget it: the next `get` makes another."""
        return self._made.pop("client", None)


environment_client = DefaultClient(Whisperr)


def get_environment_client() -> Whisperr:
    """Return the client of this process; the first call makes it from the environment.

    WHISPERR_API_KEY is the key, WHISPERR_BASE_URL the address if it is not the default one.
    Raises ValueError when there is no key, or a wrong value.
    """
    return environment_client.get()


def get_client_factory(client: Whisperr | Callable[[], Whisperr] | None) -> Callable[[], Whisperr]:
    """Return a function that returns the client that an integration was given.

    It was given the client itself, a function, or None for the one of the environment.
    """
    if client is None:
        return get_environment_client
    return (lambda: client) if isinstance(client, Whisperr) else client
