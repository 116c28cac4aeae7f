"""Tracks where a process's own rows are in the SQLite file, so that queries read only those.

The rows that one `append` adds have consecutive positions and numbers. Remembering such runs avoids
scanning the rows of other processes, however many there are. Events leave in order, so a missing
row is noticed once all rows before it are gone too.

Threads: one at a time, as for the store.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from .rows import fetch_all

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from whisperr._queue.store import Entry

# Removed runs are deleted from the list once they are this many and half of it.
_MANY = 1_000
# The first own row between two positions. Only after damage are rows of others between them.
_FIRST = (
    "SELECT position FROM event WHERE position >= ? AND position <= ? AND source = ? "
    "ORDER BY position LIMIT 1"
)


class Run(NamedTuple):
    """Own rows of consecutive positions and numbers: the first and the last position."""

    first: int
    last: int
    number: int

    @property
    def size(self) -> int:
        """How many rows the run had when it was added."""
        return self.last - self.first + 1


class Runs(NamedTuple):
    """The runs of one process, oldest first; immutable: every change makes a new value.

    The runs are `older[start:end]` and `last`. All values share the list. A new run is written
    after the end of the value that it is added to, so it changes no other value.
    """

    older: list[Run]
    start: int
    end: int
    last: Run | None
    rows: int  # the size of all runs together

    def add(self, first: int, size: int, number: int) -> Runs:
        """Return the runs with one more at the end, without any rows from its position on."""
        if not size:
            return self
        runs = self._without_from(first)
        new, last = Run(first, first + size - 1, number), runs.last
        if last is not None and (last.last + 1, last.number + last.size) == (first, number):
            return runs._replace(last=last._replace(last=new.last), rows=runs.rows + size)
        if last is None:
            return runs._replace(last=new, rows=size)
        del runs.older[runs.end :]
        runs.older.append(last)
        return runs._replace(end=runs.end + 1, last=new, rows=runs.rows + size)

    def _without_from(self, position: int) -> Runs:
        """Return the runs without the positions from this one on."""
        runs = self
        while runs.last is not None and runs.last.last >= position:
            last = runs.last
            if last.first < position:
                kept = last._replace(last=position - 1)
                return runs._replace(last=kept, rows=runs.rows - last.size + kept.size)
            any_left = runs.end > runs.start
            runs = runs._replace(
                last=runs.older[runs.end - 1] if any_left else None,
                end=runs.end - 1 if any_left else runs.end,
                rows=runs.rows - last.size,
            )
        return runs

    def get(self, index: int) -> Run | None:
        """Return the run with this index; the oldest has 0."""
        at = self.start + index
        if at < self.end:
            return self.older[at]
        return self.last if at == self.end else None

    def without_oldest(self) -> Runs:
        """Return the runs without the oldest one."""
        oldest = self.get(0)
        if oldest is None or self.start == self.end:
            return make_runs()
        older, start, end = self.older, self.start + 1, self.end
        if start >= _MANY and 2 * start >= len(older):
            older, start, end = older[start:end], 0, end - start
        return Runs(older, start, end, self.last, self.rows - oldest.size)


def count_from(source: int, entries: Sequence[Entry]) -> int:
    """Return how many of these events are of this source."""
    return [one.source for one in entries].count(source)


def make_runs() -> Runs:
    return Runs([], 0, 0, None, 0)


def skip_ended(db: sqlite3.Connection, source: int, runs: Runs) -> tuple[Runs, int | None]:
    """Return the runs from the first one that has a row left, and the number of that row."""
    while (run := runs.get(0)) is not None:
        found = fetch_all(db, _FIRST, (run.first, run.last, source))
        if found:
            return runs, run.number + found[0][0] - run.first
        runs = runs.without_oldest()
    return runs, None


def count_left(db: sqlite3.Connection, source: int, runs: Runs, after: int) -> int:
    """Return how many own rows are after a position; missing rows in the middle are not noticed."""
    left, index = runs.rows, 0
    while (run := runs.get(index)) is not None:
        first = max(run.first, after + 1)
        found = fetch_all(db, _FIRST, (first, run.last, source)) if first <= run.last else []
        if found:
            skipped: int = found[0][0] - run.first
            return left - skipped
        left -= run.size
        index += 1
    return 0
