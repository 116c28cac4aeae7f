"""Parses the entries of a stream that the scripts return, and formats lists of them. Pure."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from whisperr._events.layout import get_kind
from whisperr._queue.memory import EVENT_OVERHEAD_BYTES, Foreign

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence


class Entry(NamedTuple):
    """One event in a stream: its id, the process that added it, its number there, and its bytes.

    `is_own`: this process counts it when it ends, and no other one does.
    """

    id: bytes
    source: bytes
    number: int
    data: bytes
    is_own: bool = False

    @property
    def size(self) -> int:
        """The memory that the event would take, in bytes."""
        return len(self.data) + EVENT_OVERHEAD_BYTES


def _is_not_own(_source: bytes, _number: int) -> bool:
    return False


def parse_entries(
    heads: bytes, data: bytes, is_own: Callable[[bytes, int], bool] = _is_not_own
) -> list[Entry]:
    """Return the entries in a script's two texts (see `scripts`)."""
    words = heads.split()
    entries: list[Entry] = []
    at = 0
    for id_, field, size in zip(words[::3], words[1::3], words[2::3], strict=True):
        source, _, number = field.partition(b":")
        end, own_number = at + int(size), int(number)
        entries.append(Entry(id_, source, own_number, data[at:end], is_own(source, own_number)))
        at = end
    return entries


def to_list(entries: Sequence[Entry]) -> tuple[bytes, int]:
    """Return the ids of entries in the form that the scripts take, and their total size."""
    return b" ".join([one.id for one in entries]), sum(one.size for one in entries)


def to_events(entries: Sequence[Entry]) -> list[bytes]:
    """Return the events of entries; all but the own ones are Foreign.

    An own event that has ended may reappear in a restored stream, and is not counted again.
    """
    return [one.data if one.is_own else Foreign(one.data) for one in entries]


def is_event(entry: Entry) -> bool:
    """Return whether the data begins and ends like an event or an identify."""
    return entry.data.endswith(b"}") and get_kind(entry.data) != "unreadable"


def count_others(entries: Iterable[Entry], outcomes: Iterable[str], me: bytes) -> Iterator[object]:
    """Yield source, outcome and count of the entries that other processes added."""
    counts = Counter(
        (one.source, outcome)
        for one, outcome in zip(entries, outcomes, strict=False)
        if one.source != me
    )
    for (source, outcome), count in counts.items():
        yield from (source, outcome, count)
