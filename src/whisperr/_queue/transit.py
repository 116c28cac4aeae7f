"""The events of a leased queue that are in memory: on their way into the store, or around it.

Invariant: an event is in `memory`, in `batch`, or gone: into the store or to its end. `batch` was
claimed from memory because the store could not be used. It is older than what is in `memory`.

Interruptions: an exception of a signal handler may end any call at any point. What it left half
moved is completed or undone by `reconcile`, before anything else is moved. Each step of that may be
interrupted as well: it is taken again. All methods but `put` need the lock of the store.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .memory import MemoryQueue, get_size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .store import Store

_MOST_STORED_AT_ONCE = 500


class Transit:
    """What is in memory, and how it moves.

    - `batch`: claimed from memory to be delivered from there (`batch_claimed`), or released.
    - `stored_to`: the number after the newest event that was moved into the store.
    - `dropped`: what the store dropped for room, until it is reported.
    """

    def __init__(self, max_events: int, max_bytes: int) -> None:
        self.memory = MemoryQueue(max_events, max_bytes)
        self.batch: list[bytes] = []
        self.batch_claimed = False
        self.stored_to = 0
        self.dropped: list[bytes] = []
        self._batch_number = 0  # of its first event
        self._next_number = 0
        # What is on its way out of `memory`: number and position of the first event, and how many.
        # `_claiming`: this may be so. `_in_batch`: it has arrived in `batch`.
        self._moving: tuple[int, int, int] | None = None
        self._claiming = False
        self._in_batch = False
        self._storing_batch = False

    def __len__(self) -> int:
        """Return how many events wait here, without a batch that is being delivered."""
        return len(self.memory) + (0 if self.batch_claimed else len(self.batch))

    @property
    def held_bytes(self) -> int:
        """What they take, in bytes."""
        return self.memory.held_bytes + get_size(() if self.batch_claimed else self.batch)

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits here and nothing was left half moved."""
        return not (len(self) or self._claiming or self._storing_batch)

    def settled(self, position: int) -> bool:
        """Return whether no event before `position` is here."""
        if self.batch and self._batch_number < position:
            return False
        return self.memory.settled(position)

    def store_all(self, store: Store) -> bool:
        """Move everything but a claimed batch into the store; return whether there was any."""
        self.reconcile(store)
        moved = False
        if self.batch and not self.batch_claimed:
            self._storing_batch = True
            self.dropped += store.append(self.batch, self._batch_number)
            self.reconcile(store)
            moved = True
        try:
            while batch := self._claim_memory(_MOST_STORED_AT_ONCE):
                self.dropped += store.append(batch, self._get_number())
                self.reconcile(store)
                moved = True
        finally:
            self.reconcile(store)
        return moved

    def claim(self, max_events: int, store: Store) -> None:
        """Claim the next batch from memory, to be delivered from there."""
        self.reconcile(store)
        batch = [*self._claim_memory(max_events)]
        number = self._get_number()
        if batch:
            # In one step: there is no call in between that could be interrupted.
            self.batch = batch
            self._batch_number = number
            self._in_batch = True
        self.reconcile(store)

    def ack(self, count: int) -> int:
        """Forget the first events of the claimed batch; return how many there were."""
        if not self.batch_claimed:
            return 0
        owned = min(count, len(self.batch))
        rest = self.batch[owned:]
        self.batch = rest
        self._batch_number += owned
        self.batch_claimed = rest != []
        return owned

    def take_dropped(self) -> list[bytes]:
        """Return what the store dropped for room, once."""
        dropped, self.dropped = self.dropped, []
        return dropped

    def drain(self, store: Store) -> list[bytes]:
        """Give up everything, also what is claimed; return it, oldest first."""
        self.reconcile(store)
        lost = [*self.batch, *self.memory.drain()]
        self.batch = []
        return lost

    def reconcile(self, store: Store) -> None:
        """Complete or undo what is on its way, as far as it has come."""
        if self._storing_batch:
            end = self._batch_number + len(self.batch)
            if self.batch and store.appended_to == end:
                self.stored_to = max(self.stored_to, end)
                self.batch = []
            self._storing_batch = False
        if not self._claiming:
            return
        if self._moving is None:
            self.dropped += self.memory.release()
        else:
            self._reconcile_memory(*self._moving, store.appended_to)
            self._moving = None
        self._in_batch = False
        self._claiming = False

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
        """Claim the next events of memory; `reconcile` decides what becomes of them."""
        self._in_batch = False
        self._claiming = True
        batch = self.memory.claim(max_events)
        if batch:
            position = self.memory.claimed_position
            # The position alone would do, were it not read while this call interrupts a put that
            # is half done: then it is one too low. No number is given twice.
            self._moving = (max(self._next_number, position), position, len(batch))
        else:
            self._claiming = False
        return batch

    def _get_number(self) -> int:
        return self._moving[0] if self._moving is not None else 0
