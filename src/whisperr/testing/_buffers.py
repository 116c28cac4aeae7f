"""Describes the buffers that a capture or `send_to` treats in a way of their own. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Callable

    from whisperr.protocols import Buffer


@runtime_checkable
class Transactional(Protocol):
    """A buffer config such as the outbox of Django: a commit keeps an event, a rollback not."""

    def follow(self, put: Callable[[bytes], object]) -> Buffer:
        """Return a buffer for a test, which stores nothing.

        It calls `put` with each event when the transaction commits that the event is in.
        """


@runtime_checkable
class Relaying(Protocol):
    """A buffer config of a program that delivers what others have stored, such as a relay."""

    @property
    def relays(self) -> bool:
        """True."""
