"""Describes the buffers whose events follow a transaction of the caller, for tests. Pure."""

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
