"""The SQLite store: a file that the processes of one machine share.

Invariant: a row is an event; rows are ordered by `position`. The process whose token is in `state`
delivers, and the transaction that acknowledges a batch checks the token. The outcome of another
process's event is recorded for it in `ending`. Every write is one short transaction.

Threads: one at a time; `LeasedQueue` ensures that. Processes: each opens its own connection, and
none may be open during a fork.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from whisperr._queue.clock import ExpiryClock
from whisperr._queue.store import (
    LOST_IN_STORE,
    Entry,
    StoreFullError,
    get_claim_wait,
    get_lease_end,
    to_events,
)
from whisperr.errors import NotNow, StoreError

from . import file, rows
from .dead_letters import DeadLetterTable
from .own import count_from, count_left, skip_ended
from .rows import LAST
from .session import Session, make_id

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Mapping, Sequence

    from whisperr.errors import Loss

    from .rows import State
    from .session import View

# Seconds after which outcomes and sources of processes are deleted: a week.
_FORGET_AFTER = 7 * 86_400.0
# A larger row is no event, even if other processes have a larger `max_queue_bytes` than this one.
_LONGEST_EVENT = 64 << 20
# Up to this many rows, the sums are verified by counting before events are dropped.
_QUICKLY_COUNTED = 1_000
# Seconds between two such deletions.
_FORGET_EVERY = 3_600.0


class SQLiteStore:
    """The file, as one process uses it. `Store` explains the methods."""

    def __init__(
        self,
        path: str,
        synchronous: str,
        lease: float,
        max_events: int,
        max_bytes: int,
        wall_clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        *,
        source: int | None = None,
        dead_letters: bool = False,
    ) -> None:
        """`source`: identifies own events; that of the log, or else a random one.

        `dead_letters`: whether to keep lost events.
        """
        self._path = path
        self._lease = lease
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._now = wall_clock
        self._expiry_clock = ExpiryClock(wall_clock, monotonic)
        # The source of own events, and the token of this process's lease.
        self._me = make_id() if source is None else source
        self._token = make_id()
        self._session = Session(path, synchronous, self._token, wall_clock)
        self._dead_letters = DeadLetterTable(
            path, self._session, wall_clock, self._expiry_clock, wanted=dead_letters
        )
        self._misses = 0
        self._in_doubt = False
        self._counted = False  # whether the sums were verified by counting since the last poll
        self._forget_at = 0.0

    # -- the methods of a store

    @property
    def waiting(self) -> int:
        return self._session.view.waiting

    @property
    def waiting_bytes(self) -> int:
        return self._session.view.waiting_bytes

    @property
    def appended_to(self) -> int:
        return self._session.view.appended_to

    @property
    def kept(self) -> str | None:
        return self._session.view.kept

    def take_rejected(self) -> int:
        rejected, self._session.view.rejected = self._session.view.rejected, 0
        return rejected

    def append(self, events: Sequence[bytes], number: int) -> Sequence[bytes]:
        """Add own events; return events dropped to make room, oldest first."""

        def act(db: sqlite3.Connection, view: View) -> list[bytes]:
            known = 0
            if in_doubt:  # the last attempt may have been committed
                known, position = rows.get_known(db, self._me, number, len(events))
                view.runs = view.runs.add(position, known, number)
            position = self._add(db, events[known:], self._me, number + known)
            view.runs = view.runs.add(position, len(events) - known, number + known)
            view.own += len(events)
            view.appended_to = number + len(events)
            return self._trim(db, view)

        in_doubt, self._in_doubt = self._in_doubt, True
        dropped = self._session.write(act)
        self._in_doubt = False
        return dropped

    def adopt(self, events: Sequence[bytes], source: int, number: int) -> Sequence[bytes]:
        """Add events of a process that has ended; return events dropped to make room.

        They have its source, and the numbers from this one on. An event that was added before, by
        that process or from its log, is not added again, even if it has ended since.
        """

        def act(db: sqlite3.Connection, view: View) -> list[bytes]:
            known, _ = rows.get_known(db, source, number, len(events))
            self._add(db, events[known:], source, number + known)
            return self._trim(db, view)

        return self._session.write(act)

    def claim(self, max_events: int) -> tuple[Sequence[bytes], Sequence[bytes]]:
        """Take the lease; return the next batch, and the events that were too old to send.

        Raise NotNow while another process holds the lease.
        """
        self._session.read(self._check_turn)
        if not self.waiting:
            return (), ()
        own = self._session.view.own
        expired = self._dead_letters.write(lambda db, view: self._claim(db, view, max_events))
        self._misses = 0
        events = to_events([*expired, *self._session.view.claimed], self._me, own)
        return events[len(expired) :], events[: len(expired)]

    def extend(self, seconds: float) -> bool:
        state = self._session.read(self._session.see)
        if state.token != self._token or not self._session.view.claimed:
            self.forget()
            return False
        now = self._now()
        until = get_lease_end(now, seconds, self._lease)
        if state.until >= until and state.since <= now:
            return True
        update = "UPDATE state SET since = ?, until = ? WHERE token = ?"
        values = (now, until, self._token)
        return self._session.write(lambda db, _: db.execute(update, values).rowcount == 1)

    def ack(self, count: int, loss: Loss | None) -> int:
        entries = self._session.view.claimed[:count]
        if not entries:
            return 0
        lost, reason = (0, "") if loss is None else (loss.count, loss.reason)

        def act(db: sqlite3.Connection, view: View) -> int:
            token = self._session.see(db, view).token
            there = rows.find(db, entries)
            if token != self._token and (
                token is not None or not self._is_free(db, entries, there)
            ):
                view.claimed = []
                return 0
            gone = there != entries
            self._dead_letters.keep(db, view, there, loss)
            refused = set(entries[:lost])
            self._remove(db, [one for one in there if one in refused], reason, claimed=True)
            self._remove(
                db, [one for one in there if one not in refused], "delivered", claimed=True
            )
            view.own -= min(count_from(self._me, entries), view.own)
            view.claimed = view.claimed[len(entries) :]
            if not view.claimed:
                rows.end_lease(db)
            if gone:
                rows.repair_state(db, self._now())
            self._session.see(db, view)
            return len(entries)

        return self._dead_letters.write(act)

    def forget(self) -> None:
        view, claimed = self._session.view, self._session.view.claimed
        view.claimed = []
        view.waiting += len(claimed)
        view.waiting_bytes += sum(one.size for one in claimed)

    def release(self) -> Sequence[bytes]:
        """Give up the claim and the lease; return events dropped to make room."""

        def act(db: sqlite3.Connection, view: View) -> list[bytes]:
            last = view.claimed[-1].key[0] if view.claimed else 0
            view.claimed = []
            if self._session.see(db, view).token == self._token:
                rows.end_lease(db)
                db.execute("UPDATE state SET front_to = max(front_to, ?)", (last,))
            return self._trim(db, view)

        return self._session.write(act)

    def settled(self, number: int) -> bool:
        first = self._session.read(self._find_first)
        return first is None or first >= number

    def poll(self) -> Mapping[str, int]:
        """Update `waiting`; return by outcome how many own events ended elsewhere, each once."""
        self._counted = False
        self._dead_letters.prune()

        def read(db: sqlite3.Connection, view: View) -> bool:
            if self._session.see(db, view).token != self._token and view.claimed:
                return False  # the claim is lost or the state damaged, which `ack` handles
            endings = sum(rows.read_endings(db, self._me).values())
            left = view.own - count_from(self._me, view.claimed) - endings
            return endings > 0 or (left > 0 and self._count_waiting_own(db, view) < left)

        if self._session.read(read):
            self._session.write(self._learn)
        if not self.waiting and not self._session.view.claimed:
            self._session.read(lambda db, _: file.shrink(db))
        outcomes, self._session.view.outcomes = self._session.view.outcomes, {}
        return outcomes

    def close(self) -> None:
        self._session.close()

    # -- the outcomes of own events

    def _find_first(self, db: sqlite3.Connection, view: View) -> int | None:
        """Return the number of the first own event in the file; None if there is none."""
        view.runs, number = skip_ended(db, self._me, view.runs)
        return number

    def _count_waiting_own(self, db: sqlite3.Connection, view: View) -> int:
        """Return how many own events are after the claimed ones (see `count_left`)."""
        self._find_first(db, view)
        last = view.claimed[-1].key[0] if view.claimed else 0
        return count_left(db, self._me, view.runs, last)

    def _learn(self, db: sqlite3.Connection, view: View) -> None:
        """Count own events that other processes settled, and those that disappeared."""
        left = max(view.own - count_from(self._me, view.claimed), 0)
        outcomes = dict(view.outcomes)
        for outcome, events in rows.read_endings(db, self._me).items():
            believed = min(events, left)  # a damaged count must not end events in the file
            outcomes[outcome] = outcomes.get(outcome, 0) + believed
            left -= believed
            view.own -= believed
        lost = left - self._count_waiting_own(db, view)
        if lost > 0:
            outcomes[LOST_IN_STORE] = outcomes.get(LOST_IN_STORE, 0) + lost
            view.own -= lost
            rows.repair_state(db, self._now())
        db.execute("DELETE FROM ending WHERE source = ?", (self._me,))
        view.outcomes = outcomes
        self._session.see(db, view)

    def _is_free(
        self, db: sqlite3.Connection, entries: Sequence[Entry], there: Sequence[Entry]
    ) -> bool:
        """Return whether no other process has delivered the events that are claimed here.

        Needed if the state was removed or repaired, so that it does not have the claim any more.
        """
        gone = count_from(self._me, entries) - count_from(self._me, there)
        endings = sum(rows.read_endings(db, self._me).values())
        view = self._session.view
        left = count_left(db, self._me, view.runs, 0)
        return gone <= max(view.own - endings - left, 0)

    # -- inside a transaction

    def _check_turn(self, db: sqlite3.Connection, view: View) -> State:
        state = self._session.see(db, view)
        left = state.seconds_left(self._token, self._now())
        if left and view.waiting:
            self._misses += 1
            raise NotNow(get_claim_wait(self._misses - 1, left))
        return state

    def _claim(self, db: sqlite3.Connection, view: View, max_events: int) -> list[Entry]:
        """Take the lease and the oldest events; claim a released batch by itself, unchanged.

        Remove the events that are too old, and return them.
        """
        state = self._check_turn(db, view)
        front_to, now = state.front_to, self._now()
        oldest = rows.Oldest(self._me, max(self._max_bytes, _LONGEST_EVENT))
        batch, expired = oldest.select(db, front_to, max_events, self._expiry_clock.get_now())
        if not oldest.rows:
            front_to = 0
            batch, expired = oldest.select(db, LAST, max_events, self._expiry_clock.get_now())
        self._dead_letters.keep_expired(db, view, expired)
        self._remove(db, expired, "expired", claimed=False)
        view.own -= min(count_from(self._me, expired), view.own)
        token, last = (self._token, batch[-1].key[0]) if batch else (None, 0)
        size = sum(one.size for one in batch)
        db.execute(
            "UPDATE state SET token = ?, since = ?, until = ?, taken_to = ?, taken_rows = ?, "
            "taken_bytes = ?, front_to = ?",
            (token, now, now + self._lease, last, len(batch), size, front_to),
        )
        view.claimed = batch
        everything = oldest.ended and not front_to
        if oldest.rejected or (everything and oldest.rows != state.rows) or not oldest.rows:
            self._reject(db, view, oldest.rejected)
        if self._session.see(db, view).token != token:
            raise StoreError(f"{self._path}: its state cannot be changed")
        return expired

    def _add(
        self, db: sqlite3.Connection, events: Sequence[bytes], source: int, number: int
    ) -> int:
        """Add events; return the position of the first one."""
        if not file.has_room(self._path, db):
            raise StoreFullError(f"{self._path}: {file.NO_SPACE}")
        return rows.append(db, events, source, number, self._now())

    def _is_over(self, state: State) -> bool:
        return state.exceeds(self._max_events, self._max_bytes)

    def _trim(self, db: sqlite3.Connection, view: View) -> list[bytes]:
        """Remove the oldest unclaimed events until the bounds hold; return them."""
        state = self._session.see(db, view)
        if not self._is_over(state):
            return []
        dropped: list[Entry] = []
        quick, self._counted = state.rows <= _QUICKLY_COUNTED and not self._counted, True
        if quick or not rows.can_be_right(db, state):
            rows.repair_state(db, self._now())  # a wrong sum must not drop events
            state = self._session.see(db, view)
        while self._is_over(state):
            oldest = rows.Oldest(self._me, max(self._max_bytes, _LONGEST_EVENT))
            over = oldest.select_excess(db, state, self._max_events, self._max_bytes)
            if oldest.rejected:  # removing them makes room too
                self._reject(db, view, oldest.rejected)
            elif over:
                self._remove(db, over, "queue_full", claimed=False)
                dropped += over
            else:
                break
            state = self._session.see(db, view)
        events = to_events(dropped, self._me, view.own)
        view.own -= min(count_from(self._me, dropped), view.own)
        self._session.see(db, view)
        return events

    def _reject(self, db: sqlite3.Connection, view: View, positions: Sequence[int]) -> None:
        """Set aside rows that are no events, and correct the sums."""
        rows.reject(db, positions, self._now())
        view.rejected += len(positions)
        rows.repair_state(db, self._now())

    def _remove(
        self, db: sqlite3.Connection, entries: Sequence[Entry], outcome: str, *, claimed: bool
    ) -> None:
        """Remove events; record their outcome for the other processes that put them."""
        if not entries:
            return
        rows.remove(db, entries, claimed=claimed)
        rows.add_outcome(db, outcome, entries, self._me, self._now())
        now = self._expiry_clock.get_now()
        if abs(now - self._forget_at) >= _FORGET_EVERY:
            self._forget_at = now
            rows.forget(db, now - _FORGET_AFTER)
