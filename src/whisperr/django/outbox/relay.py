"""The table of the outbox as a buffer: what the relay's client delivers from.

The relay is an ordinary client whose buffer is the table. Several rows are claimed at once and
handed out in runs; what is delivered is deleted, what is refused becomes a dead letter. Every row
has an end in the table: delivered, dead, or free again, at the latest when its lease runs out.

Threads: one delivers (`claim`, `extend`, `ack`, `release`); any other may ask, `stop` and `drain`.
No lock: state moves in single statements, and what two threads do to one row is settled in the
table, by the token. Nothing here raises but `claim`, and that only NotNow.
"""

from __future__ import annotations

import json
import time
from collections import Counter, deque
from typing import TYPE_CHECKING, NamedTuple

from django.db import Error

from whisperr._events.batch import BatchBuilder
from whisperr._events.layout import get_oldest_time, is_expired
from whisperr._process.logger import logger
from whisperr._queue.durable import EXPIRED
from whisperr._queue.lease import get_lease_end
from whisperr._queue.memory import Foreign
from whisperr.errors import NotNow

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from whisperr._queue.store import Listener
    from whisperr.errors import Reason

    from .claims import Claims, Row

_WHY = {"invalid": "the row is not an event of this package", "expired": EXPIRED}
# Asking a database again that failed: soon at first, then less and less often.
_FIRST_REST, LONGEST_REST = 0.1, 5.0
_REPORT_EVERY = 60.0


class _Ending(NamedTuple):
    """Rows that have ended, until the table knows: reason None means delivered."""

    token: str
    rows: Sequence[Row]
    reason: str | None = None
    message: str = ""
    status: int | None = None


class RelayBuffer:
    """Deliver from the table: `batch` rows are claimed at once, for `lease` seconds.

    An idle relay looks into the table every `interval` seconds.
    """

    def __init__(
        self,
        claims: Claims,
        *,
        batch: int,
        interval: float,
        lease: float,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._claims = claims
        self._batch = batch
        self._interval = interval
        self._lease = lease
        self._clock = clock
        self._wall_clock = wall_clock
        self._listener: Listener | None = None
        self._token = ""
        self._until = 0.0  # the lease holds at least until then, by our clock
        self._claimed: deque[Row] = deque()
        self._taken: list[Row] = []
        self._endings: deque[_Ending] = deque()
        self._more = True  # there may be free rows in the table
        self._rounds = 0  # how often everything that was free has ended
        self.stopping = False
        self._said: tuple[str, int | None] = ("", None)
        self._report_at = 0.0
        self.misses = 0
        self.problem: str | None = None
        self.delivered = 0
        self.buried: Counter[str] = Counter()

    def attach(self, listener: Listener) -> None:
        """Tell this listener what is lost by age."""
        self._listener = listener

    def stop(self) -> None:
        """Take nothing more; give back what is not under way. Also from a signal handler."""
        self.stopping = True

    # -- what the pipeline and the worker call

    def put(self, data: bytes) -> Sequence[bytes]:
        """Add a row at the end; nobody but a plugged-in part tracks with the client of a relay."""
        try:
            self._claims.add(data)
        except Error as error:
            self._failed(error)
            return (data,)
        self._more = True
        return ()

    def claim(self, max_events: int) -> Sequence[bytes]:
        """Return the next run of what is claimed; claim more when nothing is left of that."""
        if self.stopping:
            self.release()
            return ()
        try:
            self._settle()
            if not self._claimed and self._more:
                self._claim()
        except Error as error:
            raise self._failed(error) from None
        self._works()
        run = BatchBuilder(max_events)
        while self._claimed and run.add(self._claimed[0].data):
            self._taken.append(self._claimed.popleft())
        self._count_round()
        return [Foreign(data) for data in run.events]

    def extend(self, seconds: float) -> bool:
        """Make the lease outlast a request or a wait; False when rows are in other hands."""
        if self.stopping:
            self.release()
        if not self._taken:
            return False
        assert not self._claims.in_transaction
        now = self._clock()
        if now + seconds < self._until:
            return True
        until = get_lease_end(now, seconds, self._lease)
        try:
            held = self._claims.prolong(self._token, [*self._taken, *self._claimed], until - now)
        except Error as error:
            self._failed(error)
            held = now < self._until  # it holds for a while even if the table cannot be asked
        else:
            self._until = until if held else 0.0
        if not held:
            self.release()
        return held

    def explain(self, message: str, status: int | None) -> None:
        """Hear why the events are lost that `ack` is about to name."""
        self._said = (message, status)

    def ack(self, count: int, lost: int = 0, reason: Reason | None = None) -> int:
        """Delete what was delivered, bury what was refused; return how many rows were held.

        If the table cannot be used now, that is made up for before anything else is taken.
        """
        part, self._taken = self._taken[:count], self._taken[count:]
        if not part:
            return 0
        if not lost:
            self._endings.append(_Ending(self._token, part))
        else:
            message, status = self._said
            if lost < len(part):  # the server keeps to itself which ones: all of them are kept
                message = (
                    f"the server refused {lost} of {len(part)} and did not say which; "
                    "to requeue them all is harmless, since the ids are the same"
                )
            self._endings.append(_Ending(self._token, part, reason or "rejected", message, status))
        try:
            owned = self._settle()
        except Error as error:
            self._failed(error)
            owned = len(part)
        self.delivered += max(owned - lost, 0)
        self._count_round()
        return owned

    def release(self) -> Sequence[bytes]:
        """Give everything back that is claimed, so that any relay may take it at once."""
        rows, self._taken, self._claimed = [*self._taken, *self._claimed], [], deque()
        self._more = True
        if rows:
            try:
                self._claims.release(self._token, rows)
            except Error as error:  # the end of the lease frees them
                self._failed(error)
        return ()

    def drain(self) -> Sequence[bytes]:
        """Give everything back and close the connection; nothing is lost with the process."""
        self.stopping = True
        try:
            self._settle()
        except Error as error:  # they are sent once more, with the same ids
            self._failed(error)
        self.release()
        self._claims.close()
        return ()

    def tail(self) -> int:
        """Return the number of the round that is under way: `flush` waits for its end."""
        return self._rounds + 1

    def settled(self, position: int) -> bool:
        """Say whether that round has ended: nothing was left that was free."""
        return not self._taken if self.stopping else self._rounds >= position

    def poll(self) -> float:
        """Take it that there is something again; `claim` finds out. Return when to look next."""
        self._more = True
        return self._interval

    def __len__(self) -> int:
        """Return how many rows wait, as far as is known; a whole batch where that is nothing."""
        if self.stopping:
            return 0
        return len(self._claimed) + (self._batch if self._more else 0)

    @property
    def held_bytes(self) -> int:
        """Return what the claimed rows take in memory, in bytes."""
        return sum(len(row.data) for row in (*self._taken, *self._claimed))

    # -- the table

    def _claim(self) -> None:
        began = self._clock()
        self._more = False  # unless a look says otherwise meanwhile
        self._token, rows = self._claims.claim(self._batch, self._lease)
        self._until = began + self._lease
        self._more = self._more or len(rows) == self._batch
        oldest = get_oldest_time(self._wall_clock())
        ends: dict[str, list[Row]] = {"": [], "invalid": [], "expired": []}
        for row in rows:
            ends[_end_of(row.data, oldest)].append(row)
        self._claimed = deque(ends.pop(""))
        for reason, gone in ends.items():
            if gone:
                self._endings.append(_Ending(self._token, gone, reason, _WHY[reason]))
        if ends["invalid"]:
            logger().warning("dropped, invalid: %s (%d)", _WHY["invalid"], len(ends["invalid"]))
        if ends["expired"] and self._listener is not None:
            lost = [Foreign(row.data) for row in ends["expired"]]
            self._listener.lost(lost, "expired", EXPIRED)
        self._settle()

    def _settle(self) -> int:
        """Write down what has ended; return how many rows of the last of it were still held."""
        owned = 0
        while self._endings:
            ending = self._endings.popleft()
            try:
                owned = self._write_down(ending)
            except Error:
                self._endings.appendleft(ending)
                raise
        return owned

    def _write_down(self, ending: _Ending) -> int:
        token, rows, reason, message, status = ending
        if reason is None:
            return self._claims.delete(token, rows)
        owned = self._claims.bury(token, rows, reason, message, status)
        self.buried[reason] += owned
        return owned

    def _count_round(self) -> None:
        if not (self._taken or self._claimed or self._more or self._endings):
            self._rounds += 1

    def _failed(self, error: Error) -> NotNow:
        """Close the connection, say once a minute what is wrong, and when to try again."""
        self._claims.close()
        # The first line only: what follows may show the row.
        self.problem = f"the outbox: {type(error).__name__}: {str(error).partition(chr(10))[0]}"
        if self._clock() >= self._report_at:
            self._report_at = self._clock() + _REPORT_EVERY
            logger().warning("%s; trying again", self.problem)
        rest = min(_FIRST_REST * 2.0 ** min(self.misses, 10), LONGEST_REST)
        self.misses += 1
        return NotNow(rest, self.problem)

    def _works(self) -> None:
        if self.problem is not None:
            self.problem, self.misses, self._report_at = None, 0, 0.0
            logger().warning("the outbox can be used again")


def _end_of(data: bytes, oldest: bytes) -> str:
    """Say why a row cannot be sent: `invalid`, `expired`, or nothing.

    What is not one JSON object would spoil the whole batch that it is in.
    """
    try:
        good = isinstance(json.loads(data), dict)
    except (ValueError, RecursionError):
        good = False
    if not good:
        return "invalid"
    return "expired" if is_expired(data, oldest) else ""
