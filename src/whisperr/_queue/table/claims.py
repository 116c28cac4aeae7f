"""The `Claims` protocol: what a relay does with an outbox's tables, for any database library."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Protocol

    from whisperr.errors import Loss

    class Claims(Protocol):
        """What one relay does with the tables of one database.

        Every method is one short transaction, which has ended when it returns. Leases run by the
        database's clock. A row is changed only if it still has the token of the claim.
        """

        @property
        def errors(self) -> tuple[type[Exception], ...]:
            """The exceptions of methods when the database cannot be used."""
            ...

        @property
        def tools(self) -> Tools:
            """The commands that reports name."""
            ...

        @property
        def largest_bytes(self) -> int:
            """A row with more bytes is claimed without its data."""
            ...

        @property
        def in_transaction(self) -> bool:
            """Whether a transaction is open in this thread's connection. No I/O."""
            ...

        def claim(
            self, count: int, lease: float, last: int | None = None
        ) -> tuple[str, Sequence[Row]]:
            """Claim the oldest free rows, at most `count`, for `lease` seconds.

            With `last`, only rows with a higher id. Return the token of the claim, and the rows
            ordered by id.
            """
            ...

        def extend(self, token: str, rows: Sequence[Row], seconds: float) -> bool:
            """Make the lease end `seconds` from now; return False if not all rows are held."""
            ...

        def release(self, token: str, rows: Sequence[Row]) -> None:
            """Release rows, so that any relay may claim them at once."""
            ...

        def delete(self, token: str, rows: Sequence[Row]) -> int:
            """Delete delivered rows; return how many of them were still held."""
            ...

        def dead_letter(self, token: str, rows: Sequence[Row], loss: Loss) -> int:
            """Turn rows into dead letters; return how many of them were still held."""
            ...

        def add(self, events: Sequence[bytes]) -> None:
            """Add events as waiting rows, in one transaction."""
            ...

        def close(self) -> None:
            """Close this thread's connection; the next use opens a new one."""
            ...


# The data of a larger row is not read. This is eight times the largest batch: the server would
# answer such an event with 413, and a hundred of them could exhaust a relay's memory.
LARGEST_ROW_BYTES = 4 * 1024 * 1024
LONGEST_MESSAGE = 2_000  # characters of the server's message in a dead letter


class Row(NamedTuple):
    """One claimed row; without its data if `is_large`."""

    id: int
    data: bytes
    is_large: bool = False


class Tools(NamedTuple):
    """The commands that reports name: `outbox` shows the tables, and `check` diagnoses."""

    outbox: str
    check: str
