"""Defines what an adapter provides: the same three calls for each package.

Imported in the measured process, so it imports nothing itself.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    class Adapter(Protocol):
        """A module of `adapters`, for one package."""

        UNABLE: dict[str, str]

        def load(self) -> None:
            """Import the package, as its users do."""

        def start(self, url: str, capacity: int) -> Client:
            """Make a client that sends to `url` and can hold at least `capacity` events."""


class Client:
    """A started package: `track` one event, `flush` until all events are acknowledged.

    `end` is what the documentation says to call at exit; None when the package delivers at exit
    by itself.
    """

    __slots__ = ("end", "flush", "track")

    def __init__(
        self,
        track: Callable[[dict[str, object]], object],
        flush: Callable[[], object],
        end: Callable[[], object] | None = None,
    ) -> None:
        self.track = track
        self.flush = flush
        self.end = end
