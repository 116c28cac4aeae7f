"""Protocols of the buffers that a capture or `send_to` treats specially. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Callable

    from whisperr.protocols import Buffer


@runtime_checkable
class Transactional(Protocol):
    """A buffer config, such as the outbox of Django, that keeps an event only after a commit."""

    def follow(self, put: Callable[[bytes], object]) -> Buffer:
        """Return a buffer for a test, which stores nothing.

        It calls `put` with each event when the transaction of the event commits.
        """


@runtime_checkable
class Relaying(Protocol):
    """The buffer config of a program that delivers stored events of others, such as a relay."""

    @property
    def relays(self) -> bool:
        """True."""
