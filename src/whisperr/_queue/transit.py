"""Holds the events of a leased queue that are not in its store: on their way to it, or past it.

They wait in the log of this process (`log`) if it has one and can write it, else in `memory`. While
memory has events, none is added to the log. So every event in the log is older than those in
memory, and all have one order and one series of numbers.

Invariant: an event is in the log, in `memory`, in `batch`, or it was stored, delivered or dropped.
`batch` is delivered from here because the store could not be used. Events that it got from memory
are only in the batch; those that it got from the log stay there as well, until `ack`.

Interruptions: a signal handler that raises may end any call at any point. Before any other event is
moved, `reconcile` completes or undoes the interrupted move; if it is interrupted too, the next call
repeats it. Locks: all methods but `put` need the lock for adding to the store.
"""

from __future__ import annotations

import time
from _thread import RLock
from typing import TYPE_CHECKING

from whisperr._events.batch import take_batch
from whisperr.errors import StoreError

from .memory import MemoryQueue, get_size

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .log.log import Log
    from .store import Store

# Events that one call of the store moves at most, so that its connection stays responsive.
_MOST_MOVED_AT_ONCE = 1_000
# Groups that one `store_all` moves out of a log at most, so that a claim does not wait for long.
_MOST_GROUPS = 5
# Seconds after a failure in which the log is not tried.
_LOG_RETRY = 1.0


class Transit:
    """The events that are not in the store yet.

    - `batch`: events to deliver from here; while `batch_claimed`, they are being delivered.
    - `stored_to`: the number after the newest event that was moved into the store.
    - `dropped`: events that the store dropped to make room, until they are reported.
    - `log_problem`: why the log could not be written last, until that is reported.
    """

    def __init__(
        self,
        max_events: int,
        max_bytes: int,
        log: Log | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.memory = MemoryQueue(max_events, max_bytes)
        self.log = log
        self.batch: list[bytes] = []
        self.batch_claimed = False
        self.stored_to = 0
        self.dropped: list[bytes] = []
        self.log_problem: str | None = None
        self._clock = clock
        # Whether events are added to memory; an event's number is its position there plus `_shift`.
        self._switching = RLock()
        self._uses_memory = log is None
        self._shift = 0
        self._log_retry_at = 0.0
        self._batch_number = 0  # of its first event
        self._is_from_log = False  # whether the batch was read from the log
        self._next_number = 0
        # A move out of `memory`: number and position of the first event, and how many. `_claiming`:
        # one may be under way. `_in_batch`: its events have arrived in `batch`.
        self._moving: tuple[int, int, int] | None = None
        self._claiming = False
        self._in_batch = False
        self._storing_batch = False
        # The events in logs that were closed: number of the first one, and how many.
        self._left_behind = 0, 0
        # A move out of the log: number of the first event, and how many.
        self._moving_from_log: tuple[int, int] | None = None

    def __len__(self) -> int:
        """Return how many events wait here, not counting a batch that is being delivered."""
        waiting = len(self.memory)
        if self.log is not None:
            waiting += len(self.log)
        if self.batch:
            waiting += self._to_waiting(len(self.batch))
        return waiting

    @property
    def in_memory(self) -> int:
        """How many events are only in the memory of this process, or on their way out of it."""
        return self.memory.held + (0 if self._is_from_log else len(self.batch))

    @property
    def in_log(self) -> int:
        """How many events are in the files of the log, including logs that were closed."""
        return self._left_behind[1] + (0 if self.log is None else len(self.log))

    @property
    def held_bytes(self) -> int:
        """The size of the waiting events, in bytes."""
        size = self.memory.held_bytes + (0 if self.log is None else self.log.held_bytes)
        if self.batch:
            size += self._to_waiting(get_size(self.batch))
        return size

    @property
    def is_idle(self) -> bool:
        """Whether no event waits here and no move was interrupted."""
        return not (len(self) or self._claiming or self._storing_batch or self._moving_from_log)

    def put(self, data: bytes) -> Sequence[bytes]:
        """Add one event; return the events dropped to make room."""
        log = self.log
        if log is None:
            return self.memory.put(data)
        if len(data) > self.memory.largest:
            return (data,)
        if self._uses_memory:
            return self._put_in_memory(log, data)
        try:
            log.write(data)
        except StoreError as error:
            self._switch_to_memory(log, str(error))
            return self._put_in_memory(log, data)
        return log.overflow()

    def tail(self) -> int:
        """Return the number after the newest event."""
        with self._switching:
            if self.log is None or self._uses_memory:
                return self._shift + self.memory.tail()
            return self.log.written

    def settled(self, position: int) -> bool:
        """Return whether no event before `position` is here."""
        if self.batch and self._batch_number < position:
            return False
        if self.log is not None and len(self.log) and self.log.first < position:
            return False
        if self._left_behind[1] and self._left_behind[0] < position:
            return False
        return self.memory.settled(position - self._shift)

    def store_all(self, store: Store) -> bool:
        """Move events into the store; return whether any were moved.

        None are moved while a batch is claimed: the others are newer, and a store gets its numbers
        in order.
        """
        self.reconcile(store)
        if self.batch_claimed:
            return False
        moved = False
        if self._is_from_log:
            self._return_to_log()
        if self.batch:
            self._storing_batch = True
            self.dropped += store.append(self.batch, self._batch_number)
            self.reconcile(store)
            moved = True
        try:
            groups = 0
            while groups < _MOST_GROUPS and self._move_from_log(store):
                groups += 1
                moved = True
            # Without events that other threads add meanwhile, maybe faster than they are stored.
            left = 0 if groups == _MOST_GROUPS else len(self.memory)
            while left > 0:
                batch = self._claim_memory(min(left, _MOST_MOVED_AT_ONCE))
                if not batch:
                    break
                self.dropped += store.append(batch, self._get_number())
                self.reconcile(store)
                left -= len(batch)
                moved = True
        finally:
            self.reconcile(store)
        return moved

    def claim(self, max_events: int, store: Store) -> None:
        """Claim the next batch, to be delivered from here."""
        self.reconcile(store)
        if self.log is not None and len(self.log):
            number, lines = self.log.claim(max_events)
            # No call after this one, so that no interruption can separate the assignments.
            batch = take_batch(lines[:max_events])
            self.batch = batch
            self._batch_number = number
            self._is_from_log = batch != []
            return
        batch = [*self._claim_memory(max_events)]
        number = self._get_number()
        if batch:
            self.batch = batch
            self._batch_number = number
            self._in_batch = True
        self.reconcile(store)

    def ack(self, count: int) -> int:
        """Forget the first events of the claimed batch; return how many there were."""
        if not self.batch_claimed:
            return 0
        owned = min(count, len(self.batch))
        rest, from_log = self.batch[owned:], self._is_from_log
        self.batch = rest
        self._batch_number += owned
        self.batch_claimed = rest != []
        self._is_from_log = from_log and rest != []
        if from_log and self.log is not None:
            self.log.ack(owned)
        return owned

    def take_dropped(self) -> list[bytes]:
        """Return the events that the store dropped to make room, once."""
        dropped, self.dropped = self.dropped, []
        return dropped

    def take_log_problem(self) -> str | None:
        """Return why the log could not be written, once."""
        problem, self.log_problem = self.log_problem, None
        return problem

    def drain(self, store: Store) -> list[bytes]:
        """Give up all events but those in the log, even claimed ones; return them, oldest first."""
        self.reconcile(store)
        if self._is_from_log:
            self._return_to_log()
        lost = [*self.batch, *self.memory.drain()]
        self.batch = []
        log = self.log
        if log is not None:
            if len(log):
                first, count = self._left_behind if self._left_behind[1] else (log.first, 0)
                self._left_behind = first, count + len(log)
            log.close()
        return lost

    def reconcile(self, store: Store) -> None:
        """Complete an interrupted move if the store has the events, else undo it."""
        if self._storing_batch:
            end = self._batch_number + len(self.batch)
            if self.batch and store.appended_to == end:
                self.stored_to = max(self.stored_to, end)
                self.batch = []
            self._storing_batch = False
        if self._moving_from_log is not None and self.log is not None:
            self._reconcile_log(self.log, *self._moving_from_log, store.appended_to)
            self._moving_from_log = None
        if not self._claiming:
            return
        if self._moving is None:
            self.dropped += self.memory.release()
        else:
            self._reconcile_memory(*self._moving, store.appended_to)
            self._moving = None
        self._in_batch = False
        self._claiming = False

    def _to_waiting(self, batch: int) -> int:
        """Return the part of a batch's size that waits and is not counted by the log as well."""
        return (0 if self.batch_claimed else batch) - (batch if self._is_from_log else 0)

    # -- the log

    def _put_in_memory(self, log: Log, data: bytes) -> Sequence[bytes]:
        """Add an event to memory, or to the log again if memory is empty and a retry is due."""
        with self._switching:
            if self._uses_memory and not self.memory.held and self._clock() >= self._log_retry_at:
                log.skip_to(self._shift + self.memory.tail())
                self._uses_memory = False
            if self._uses_memory:
                return self.memory.put(data)
        return self.put(data)

    def _switch_to_memory(self, log: Log, problem: str) -> None:
        """Add events to memory from now on, because the log cannot be written."""
        with self._switching:
            self.log_problem = problem
            self._log_retry_at = self._clock() + _LOG_RETRY
            if not self._uses_memory:
                self._shift = log.stop() - self.memory.tail()
                self._uses_memory = True

    def _move_from_log(self, store: Store) -> bool:
        """Move the oldest events of the log into the store; return whether there were any."""
        if self.log is None or not len(self.log):
            return False
        number, lines = self.log.claim(_MOST_MOVED_AT_ONCE)
        if not lines:
            return False
        self._moving_from_log = number, len(lines)
        self.dropped += store.append(lines, number)
        self.reconcile(store)
        return True

    def _return_to_log(self) -> None:
        """Forget a batch that was read from the log, which still has its events."""
        self.batch = []
        self._is_from_log = False
        if self.log is not None:
            self.log.release()

    def _reconcile_log(self, log: Log, number: int, count: int, appended_to: int) -> None:
        if appended_to != number + count:
            log.release()
            return
        self.stored_to = max(self.stored_to, appended_to)
        left = number + count - log.first
        if left > 0:
            log.ack(left)

    # -- memory

    def _reconcile_memory(self, number: int, position: int, count: int, appended_to: int) -> None:
        stored = appended_to == number + count
        if stored:
            self.stored_to = max(self.stored_to, appended_to)
        if stored or self._in_batch:
            self._next_number = number + count
            left = position + count - self.memory.claimed_position
            if left > 0:
                self.memory.ack(left)
        else:
            self.dropped += self.memory.release()

    def _claim_memory(self, max_events: int) -> Sequence[bytes]:
        """Claim the next events of memory; `reconcile` removes or releases them."""
        self._in_batch = False
        self._claiming = True
        batch = self.memory.claim(max_events)
        if batch:
            position = self.memory.claimed_position
            # If this call interrupts a `put` in the same thread, the position may be one too low.
            # `_next_number` ensures that no number is used twice.
            number = max(self._next_number, self._shift + position)
            self._moving = (number, position, len(batch))
        else:
            self._claiming = False
        return batch

    def _get_number(self) -> int:
        return self._moving[0] if self._moving is not None else 0
