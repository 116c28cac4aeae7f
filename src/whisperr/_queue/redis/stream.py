"""One stream as this process last saw it, with the ids of its own events there. Pure.

Own events are numbered. The events that one script added have consecutive ids, so a few integers
describe all of them (`Run`). The store tracks which events have ended, and passes `live`, a
dictionary of the numbers that have not.

Threads: the one that appends adds runs at the end; the one that delivers removes them at the front.
"""

from __future__ import annotations

from collections import Counter, deque
from typing import TYPE_CHECKING, NamedTuple

from .keys import get_keys

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Sequence

# Runs examined per call: indexing into the middle of a long deque is slow.
_MOST_RUNS = 1_000
_GONE = b"-"
_MOST_DIGITS = 15  # of a count of events
DELIVERED = "delivered"
DROPPED = "queue_full"
EXPIRED = "expired"
# The outcomes that processes record for each other's events; no others are read.
OUTCOMES = (
    DELIVERED,
    DROPPED,
    EXPIRED,
    "rejected",
    "refused_in_batch",
    "too_large",
    "shutdown",
    "lost_in_store",
)


class Sums(NamedTuple):
    """The sums of a stream when a script ended: events and bytes in all, and those claimed."""

    rows: int = 0
    size: int = 0
    is_mine: int = 0
    taken_rows: int = 0
    taken_size: int = 0
    newest: bytes = b"0-0"


class Run:
    """Own events with consecutive ids; the first `at` of them have ended."""

    __slots__ = ("at", "numbers", "sequence", "time")

    def __init__(self, numbers: Sequence[int], first_id: tuple[int, int]) -> None:
        self.numbers = numbers
        self.time, self.sequence = first_id
        self.at = 0

    def get_id(self, at: int) -> bytes:
        """Return the id of the event at this index."""
        return b"%d-%d" % (self.time, self.sequence + at)

    def count_before(self, id_: tuple[int, int]) -> int:
        """Return how many of the events have lower ids."""
        if self.time != id_[0]:
            return len(self.numbers) if self.time < id_[0] else 0
        return min(max(id_[1] - self.sequence, 0), len(self.numbers))


class Stream:
    """What this process knows of one stream."""

    def __init__(self, name: str, source: int) -> None:
        self.name = name
        self.keys = get_keys(name, source)
        self.runs: deque[Run] = deque()
        self.tried_to = -1  # the last number that an earlier attempt may have added
        self.sums = Sums()
        # The outcomes that other processes counted, in each of the two keys.
        self.endings: tuple[Counter[str], Counter[str]] = (Counter(), Counter())

    def update(self, sums: Sums, before: Sums, *, has_added: bool) -> None:
        """Store the sums that a script returned; they were `before` when it was sent.

        If another script returned meanwhile, the id of the newest entry decides which is later.
        """
        now = self.sums
        known, found = parse_id(now.newest), parse_id(sums.newest)
        if now is before or (found > known if has_added else found >= known):
            self.sums = sums

    def count_endings(
        self, weeks: Sequence[Sequence[bytes | None]]
    ) -> tuple[tuple[Counter[str], Counter[str]], Counter[str]]:
        """Return the counts of outcomes that other processes recorded, and what is new in them.

        A value that is not a count is damaged, and ignored.
        """
        totals: list[Counter[str]] = []
        changes: Counter[str] = Counter()
        for known, values in zip(self.endings, weeks, strict=True):
            pairs = zip(OUTCOMES, values, strict=False)
            total = Counter({name: int(n) for name, n in pairs if n is not None and _is_count(n)})
            # If a client deleted the key or its week ended, the counts have restarted from 0.
            is_reset = any(total[name] < count for name, count in known.items())
            changes += total if is_reset else total - known
            totals.append(total)
        return (totals[0], totals[1]), changes

    def get_first(self, live: Container[int]) -> float:
        """Return the lowest number of the events that have not ended; infinity if none."""
        while self.runs:
            run = self.runs[0]
            at, numbers = run.at, run.numbers
            while at < len(numbers) and numbers[at] not in live:
                at += 1
            run.at = at
            if at < len(numbers):
                return numbers[at]
            self.runs.popleft()
        return float("inf")

    def get_oldest(
        self, most: int, live: Container[int], claimed: Container[int]
    ) -> tuple[list[int], bytes]:
        """Return the numbers of the oldest events, and their ids and numbers as one text."""
        found: list[int] = []
        words: list[bytes] = []
        for run in self._get_runs():
            for at in range(run.at, len(run.numbers)):
                number = run.numbers[at]
                if number in live and number not in claimed:
                    found.append(number)
                    words += run.get_id(at), b"%d" % number
                    if len(found) == most:
                        return found, b" ".join(words)
        return found, b" ".join(words)

    def get_before(self, id_: bytes, claimed: Container[int]) -> list[int]:
        """Return the numbers of the events with ids lower than this one."""
        found: list[int] = []
        for run in self._get_runs():
            count = run.count_before(parse_id(id_))
            found += run.numbers[run.at : count]
            if count < len(run.numbers):
                break
        return [number for number in found if number not in claimed]

    def _get_runs(self) -> Iterator[Run]:
        for at in range(min(len(self.runs), _MOST_RUNS)):  # another thread may add some at the end
            yield self.runs[at]


def parse_id(text: bytes) -> tuple[int, int]:
    """Return the two integers of an id, by which ids are ordered; (0, 0) if it is invalid."""
    time, _, sequence = text.partition(b"-")
    return (int(time), int(sequence)) if time.isdigit() and sequence.isdigit() else (0, 0)


def parse_runs(numbers: Sequence[int], text: bytes) -> tuple[list[Run], list[int]]:
    """Return the runs that APPEND added, and the numbers of events that disappeared."""
    ids = text.split()
    if len(ids) == 1 and ids[0] != _GONE:
        return [Run(numbers, parse_id(ids[0]))], []
    runs: list[tuple[list[int], tuple[int, int]]] = []
    gone: list[int] = []
    for number, id_ in zip(numbers, ids, strict=True):
        if id_ == _GONE:
            gone.append(number)
            continue
        time, sequence = parse_id(id_)
        if runs and runs[-1][1] == (time, sequence - len(runs[-1][0])):
            runs[-1][0].append(number)
        else:
            runs.append(([number], (time, sequence)))
    return [Run(*one) for one in runs], gone


def _is_count(text: bytes) -> bool:
    return text.isdigit() and len(text) <= _MOST_DIGITS
