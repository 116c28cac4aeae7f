"""What a relay may do with the tables of an outbox, whatever reads and writes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Protocol

    from whisperr.errors import Loss

    class Claims(Protocol):
        """What one relay may do with the tables of one database.

        Every method is one short transaction; none is open when it returns. The clock of leases is
        that of the database. A row is changed only where the token of the claim still stands.
        """

        @property
        def errors(self) -> tuple[type[Exception], ...]:
            """What a method raises when the database cannot be used."""
            ...

        @property
        def tools(self) -> Tools:
            """The commands that reports name."""
            ...

        @property
        def largest_bytes(self) -> int:
            """A larger row is claimed without its data."""
            ...

        @property
        def in_transaction(self) -> bool:
            """Whether a transaction is open in this thread's connection. No I/O."""
            ...

        def claim(
            self, count: int, lease: float, last: int | None = None
        ) -> tuple[str, Sequence[Row]]:
            """Claim at most `count` free rows, the oldest, for `lease` seconds.

            With `last` only rows with a higher id. Return the token of the claim and the rows in
            the order of their ids.
            """
            ...

        def extend(self, token: str, rows: Sequence[Row], seconds: float) -> bool:
            """Make the lease end so long from now; False when not all rows are held any more."""
            ...

        def release(self, token: str, rows: Sequence[Row]) -> None:
            """Give rows back, so that any relay may claim them at once."""
            ...

        def delete(self, token: str, rows: Sequence[Row]) -> int:
            """Delete delivered rows; return how many of them were still held."""
            ...

        def dead_letter(self, token: str, rows: Sequence[Row], loss: Loss) -> int:
            """Turn rows into dead letters; return how many of them were still held."""
            ...

        def add(self, events: Sequence[bytes]) -> None:
            """Add rows that wait, in one transaction."""
            ...

        def close(self) -> None:
            """Close the connection of this thread; the next use opens another one."""
            ...


# A larger row is not even read. It is eight times the largest batch: an event of that size can only
# be answered with 413, and some hundred of them would fill the memory of a relay.
LARGEST_ROW_BYTES = 4 * 1024 * 1024
LONGEST_MESSAGE = 2_000  # characters of what the server says, in a dead letter


class Row(NamedTuple):
    """One claimed row; a large one without its data."""

    id: int
    data: bytes
    is_large: bool = False


class Tools(NamedTuple):
    """The commands that reports name: one that shows the tables, and one that finds out more."""

    outbox: str
    check: str
