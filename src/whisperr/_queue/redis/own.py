"""Tracks which of a process's own events are still in streams, so that each is counted once.

An event ends when it is delivered or dropped. Two threads end events without a shared lock: the one
that appends, when the server drops the oldest to make room, and the one that delivers. The thread
that pops an event's number from `live` counts its end: `dict.pop` is one step in C, and so is `map`
over it, also for signal handlers.

- `live`: the numbers of the own events that have not ended. A number is added before its event is
  sent, because the other thread may claim the event before the answer arrives.
- `early`: the outcomes of events that ended before their append was answered; "" if already
  counted. Such an event is not added again.
- `suspects`: events that disappeared while an append was under way, with that append's number: its
  answer may say that it dropped them.
- `missing`: how many events disappeared with an unknown outcome. `unmatched`: outcomes of own
  events that other processes recorded, without the events' numbers.
"""

from __future__ import annotations

from collections import Counter, deque
from itertools import repeat
from typing import TYPE_CHECKING

from whisperr._process.counter import Counter as Counted
from whisperr._queue.memory import Foreign
from whisperr._queue.store import LOST_IN_STORE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from .entries import Entry

_COUNTED = ""


class OwnEvents:
    """The own events of one process."""

    def __init__(self, source: bytes) -> None:
        self._source = source
        self.live: dict[int, int] = {}
        self.appended_to = 0
        self._tried_to = -1
        self._early: dict[int, str] = {}
        self._late: list[str] = []  # outcomes of events that were not known as own when they ended
        self._late_seen = 0
        # Appends that have begun, and that have ended. `_gone`: events that they found missing.
        # `_explained`: how many suspects they had dropped themselves.
        self._begun = 0
        self._ended = 0
        self._gone: deque[Sequence[int]] = deque()
        self._explained = Counted()  # by both threads
        self._explained_seen = 0
        self._suspects: dict[int, int] = {}
        self._found: deque[int | None] = deque()  # disappeared, but not counted as `missing` yet
        self._missing = 0
        self.unmatched: Counter[str] = Counter()
        # Outcomes in an unanswered acknowledgement, which may have reached the server.
        self.outcomes: dict[int, str] = {}

    # -- the thread that appends

    def begin_append(self, numbers: Sequence[int]) -> None:
        """Add these events to `live`, before they are sent."""
        self._begun += 1
        self._tried_to = max(self._tried_to, numbers[-1])
        for number in [*self._early]:
            if number < self.appended_to:  # its append was answered since
                self._early.pop(number, None)
        expected = [number for number in numbers if number not in self._early]
        self.live.update(zip(expected, expected, strict=True))

    def end_append(self, numbers: Sequence[int], *, has_failed: bool) -> None:
        """Remove the events from `live` if the append failed: they may not be in the streams."""
        if has_failed:
            _ = [*map(self.live.pop, numbers, repeat(None))]
        self._ended = self._begun

    def commit(
        self, numbers: Sequence[int], gone: Sequence[int], dropped: Sequence[Entry]
    ) -> list[bytes]:
        """Process the answers of an append that stored all; return the events that it dropped."""
        if gone:
            self._gone.append(gone)
        for number in numbers if self._early else ():
            outcome = self._early.pop(number, _COUNTED)
            if outcome != _COUNTED:
                self._late.append(outcome)
        own = [one.number for one in dropped if one.source == self._source]
        # One step for a signal handler. Before it, the append is repeated and finds its entries.
        ended = [*map(self.live.pop, own, repeat(None))]
        self.appended_to = numbers[-1] + 1
        return self._to_dropped(dropped, ended)

    # -- both threads

    def drop(self, entries: Sequence[Entry]) -> list[bytes]:
        """End events that the server dropped; return them, those of other processes as Foreign."""
        own = [one.number for one in entries if one.source == self._source]
        return self._to_dropped(entries, [*map(self.live.pop, own, repeat(None))])

    def _to_dropped(self, entries: Sequence[Entry], ended: Sequence[int | None]) -> list[bytes]:
        """Return dropped events; `ended`: what `live` held for each of this source."""
        results = iter(ended)
        events: list[bytes] = []
        for one in entries:
            is_own = False
            if one.source == self._source:
                is_own = next(results) is not None
                if not is_own and self._suspects.pop(one.number, None) is not None:
                    is_own = True
                    self._explained.next()
            events.append(one.data if is_own else Foreign(one.data))
        return events

    # -- the thread that delivers

    def get_marker(self) -> Callable[[bytes, int], bool]:
        """Return a function that decides by source and number whether a claimed entry is own.

        Of two entries with the same number, only the first is: the second is a copy.
        """
        me, live = self._source, self.live
        seen: set[int] = set()

        def is_own(source: bytes, number: int) -> bool:
            if source != me or number not in live or number in seen:
                return False
            seen.add(number)
            return True

        return is_own

    def note_ends(self, entries: Sequence[Entry], outcomes: Iterable[str]) -> None:
        """Record outcomes, before the caller pops the own entries from `live`.

        An append may be unanswered, or may have been answered after its events were claimed.
        """
        are_certain = self._tried_to < self.appended_to
        marked = {one.number for one in entries if one.is_own}
        for one, outcome in zip(entries, outcomes, strict=False):
            if one.source != self._source or (one.is_own and are_certain):
                continue
            is_uncertain = self.appended_to <= one.number <= self._tried_to
            if is_uncertain:
                self._early[one.number] = _COUNTED if one.is_own else outcome
            if one.number not in marked and self.live.pop(one.number, None) is not None:
                if is_uncertain:
                    self._early[one.number] = _COUNTED
                self._late.append(outcome)

    @property
    def appends(self) -> tuple[int, int]:
        """How many appends have begun, and how many have ended."""
        return self._begun, self._ended

    def miss(self, numbers: Sequence[int], before: tuple[int, int]) -> None:
        """End events that disappeared from a stream; `before`: `appends` before it was read."""
        begun = self._begun
        if before != (begun, begun):
            self._suspects.update(zip(numbers, repeat(begun)))
        self._found.extend(map(self.live.pop, numbers, repeat(None)))

    def take_gone(self) -> int:
        """Collect the events that appends found missing; return how many appends had ended."""
        ended = self._ended
        while self._gone:
            self._found.extend(map(self.live.pop, self._gone[0], repeat(None)))
            self._gone.popleft()
        return ended

    def settle(self, ended: int) -> Mapping[str, int]:
        """Return by outcome how many own events ended elsewhere, each once.

        Call it once all outcomes so far have been read: an event without one was lost in the store.
        `ended`: the result of `take_gone` before that reading.
        """
        found = [number for number in self._found if number is not None]
        explained, late = self._explained.value, len(self._late)
        suspects = {n: begun for n, begun in [*self._suspects.items()] if begun > ended}
        missing = self._missing + len(found) - (explained - self._explained_seen)
        unmatched = self.unmatched + Counter(
            self.outcomes[number] for number in found if number in self.outcomes
        )
        changes = Counter(self._late[self._late_seen : late])
        for outcome, count in [*unmatched.items()]:
            matched = min(count, missing)
            changes[outcome] += matched
            unmatched[outcome] -= matched
            missing -= matched
        lost = max(missing - len(suspects), 0)
        changes[LOST_IN_STORE] = lost
        result = {outcome: count for outcome, count in changes.items() if count}
        nothing: deque[int | None] = deque()
        missing -= lost
        # One step for a signal handler.
        self._missing, self.unmatched, self._found = missing, unmatched, nothing
        self._suspects, self._explained_seen, self._late_seen = suspects, explained, late
        return result
