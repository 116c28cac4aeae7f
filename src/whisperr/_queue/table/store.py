"""The table of an outbox as the store of a leased queue, from which a relay delivers.

The relay claims many rows at once and hands them out in batches. It deletes delivered rows, and
turns refused ones into dead letters. Invariant: a row stays in the table until it is delivered or a
dead letter, and is free again at the latest when its lease expires.

Threads: one at a time; `LeasedQueue` ensures that. Any thread may call `stop` and read the counts.
If two relays compete for a row, the token in the table decides.
"""

from __future__ import annotations

import json
import time
from collections import Counter, deque
from typing import TYPE_CHECKING, NamedTuple

from whisperr._foreign import printable
from whisperr._process.logger import log
from whisperr._queue.clock import ExpiryClock
from whisperr._queue.durable import LeasedQueue
from whisperr._queue.memory import Foreign, get_size
from whisperr._queue.store import EXPIRED, get_lease_end, select_batch
from whisperr.errors import Loss, StoreError

from .range import ClaimRange

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import NoReturn, TypeVar

    from whisperr.errors import Reason
    from whisperr.protocols import Accounting

    from .claims import Claims, Row, Tools

    T = TypeVar("T")

_INVALID = "the row is not an event of this package"
_LONGEST_PROBLEM = 300  # characters of a database's error message


class TableStore:
    """Claims up to `batch` rows at once, for `lease` seconds.

    - `rounds`: how often no free row was left and all claimed ones were settled.
    - `failures`: how many times in a row the table could not be used.
    - `delivered`: how many rows were delivered. `dead_letters`: the counts by reason.
    """

    def __init__(
        self,
        claims: Claims,
        *,
        batch: int,
        lease: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._claims = claims
        self._batch = batch
        self._lease = lease
        self._clock = clock
        self._token = ""
        self._until = 0.0  # the lease lasts at least until then, by this process's clock
        self._group: deque[Row] = deque()  # claimed in the table, but not handed out yet
        self._claimed: list[Row] = []  # handed out
        # Results to write to the table: token, rows, and their loss; None: delivered.
        self._results: deque[tuple[str, Sequence[Row], Loss | None]] = deque()
        self._more = True  # there may be free rows in the table
        self._failure: StoreError | None = None  # the next claim raises it
        self._expiry_clock = ExpiryClock()
        self._range = ClaimRange(clock)
        self.appended_to: int = 0
        self.kept: str | None = None  # the relay counts and reports dead letters itself
        self.stopping: bool = False
        self.rounds: int = 0
        self.failures: int = 0
        self.delivered: int = 0
        self.dead_letters: Counter[str] = Counter()

    @property
    def tools(self) -> Tools:
        """The commands that reports name."""
        return self._claims.tools

    def stop(self) -> None:
        """Claim no more rows, and release those not being sent. A signal handler may call this."""
        self.stopping = True

    # -- the methods of a store

    @property
    def waiting(self) -> int:
        """How many rows wait, as far as this relay knows.

        If there may be free rows, it includes a full batch, so that `claim` is called. Not during a
        request, whose report counts the waiting rows.
        """
        if self.stopping:
            return 0
        return len(self._group) + (self._batch if self._more and not self._claimed else 0)

    @property
    def under_way(self) -> int:
        """How many rows are being sent, or wait to be sent again."""
        return len(self._claimed)

    @property
    def waiting_bytes(self) -> int:
        """The size of the claimed rows that were not handed out yet, in bytes."""
        return get_size([row.data for row in self._group])

    def append(self, events: Sequence[bytes], number: int) -> Sequence[bytes]:
        """Add rows. A relay tracks no events itself, but code that runs in it may."""
        try:
            self._claims.add(events)
        except self._claims.errors as error:
            raise self._fail(error) from None
        self._more = True
        self.appended_to = number + len(events)
        return ()

    def take_rejected(self) -> int:
        """Return 0: rows that are no events become dead letters, which are counted."""
        return 0

    def claim(self, max_events: int) -> tuple[Sequence[bytes], Sequence[bytes]]:
        """Return the next batch of the claimed rows, and the rows that are too old to send.

        If no rows are left, claim more. Rows that are too old become dead letters.
        """
        if self.stopping:
            self.release()
            return (), ()
        self.forget()
        if self._failure is None:
            self._try(self._fill_group, None)
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure
        self.failures = 0
        self._claimed, expired = select_batch(self._group, max_events, self._expiry_clock.get_now())
        for _ in range(len(self._claimed) + len(expired)):
            self._group.popleft()
        self._keep_result(expired, Loss(len(expired), "expired", EXPIRED))
        self._try(self._write_results, 0)
        self._count_round()
        return [Foreign(row.data) for row in self._claimed], [Foreign(row.data) for row in expired]

    def extend(self, seconds: float) -> bool:
        """Make the lease outlast a request or a wait; return False if another relay has a row."""
        if self.stopping:
            self.release()
        if not self._claimed:
            return False
        assert not self._claims.in_transaction  # none may be open during a request
        now = self._clock()
        if now + seconds < self._until:
            return True
        until, rows = get_lease_end(now, seconds, self._lease), [*self._claimed, *self._group]
        extended = self._try(lambda: self._claims.extend(self._token, rows, until - now), None)
        if extended is None:  # the table cannot be used, but the lease may still last
            extended = now < self._until
        else:
            self._until = until if extended else 0.0
        if not extended:
            self.release()
        return extended

    def ack(self, count: int, loss: Loss | None) -> int:
        """Delete delivered rows and dead-letter refused ones; return how many were still held.

        If the table cannot be used now, this is done before the next claim.
        """
        part, self._claimed = self._claimed[:count], self._claimed[count:]
        if not part:
            return 0
        lost = 0 if loss is None else loss.count
        if loss is not None and lost < len(part):  # which ones is unknown, so keep all
            message = (
                f"the server refused {lost} of {len(part)} and did not say which; "
                "requeueing all of them is harmless, because they keep their ids"
            )
            loss = Loss(lost, loss.reason, message, loss.status, loss.host)
        self._keep_result(part, loss)
        owned = self._try(self._write_results, len(part))
        if owned < len(part):
            self._until = 0.0  # another relay has claimed rows: extend before sending more
        self.delivered += max(owned - lost, 0)
        self._count_round()
        return owned

    def release(self) -> Sequence[bytes]:
        """Release all claimed rows, so that any relay may claim them at once."""
        rows, self._claimed, self._group = [*self._claimed, *self._group], [], deque()
        self._more = True
        self._range.reset()  # so that released rows are claimed before newer ones
        if rows:  # if the table cannot be used now, they are free when the lease expires
            self._try(lambda: self._claims.release(self._token, rows), None)
        return ()

    def forget(self) -> None:
        """Count the claimed batch as waiting again."""
        self._group.extendleft(reversed(self._claimed))
        self._claimed = []

    def settled(self, number: int) -> bool:  # noqa: ARG002  # of the protocol
        """Return True: a relay has no own events to wait for."""
        return True

    def poll(self) -> None:
        """Assume that there are free rows again, so that the next `claim` scans."""
        self._more = True

    def close(self) -> None:
        """Write the remaining results, and close this thread's connection."""
        self._try(self._write_results, 0)  # if it fails, the events are sent again, with their ids
        if self.stopping:
            self.release()
        self._claims.close()

    # -- the table

    def _fill_group(self) -> None:
        self._write_results()
        if self._group or not self._more:
            return
        rows = self._range.scan(self._claim_above, self._batch)
        self._more = self._range.may_find_more
        refused: dict[tuple[Reason, str], list[Row]] = {}
        for row in rows:
            problem = self._get_problem(row)
            if problem is None:
                self._group.append(row)
            else:
                refused.setdefault(problem, []).append(row)
        for (reason, message), some in refused.items():
            self._keep_result(some, Loss(len(some), reason, message))
            log(
                "warning",
                '%s; %d rows set aside as dead letters (%s); run "%s"',
                message,
                len(some),
                reason,
                self._claims.tools.outbox,
                reason=reason,
                count=len(some),
            )

    def _claim_above(self, last: int | None) -> Sequence[Row]:
        began = self._clock()
        self._token, rows = self._claims.claim(self._batch, self._lease, last)
        self._until = began + self._lease
        return rows

    def _get_problem(self, row: Row) -> tuple[Reason, str] | None:
        """Return why a row would make the server refuse its batch; None for a good row."""
        if row.is_large:
            return "too_large", f"the row is larger than {self._claims.largest_bytes:,} bytes"
        return None if _is_json_object(row.data) else ("invalid", _INVALID)

    def _keep_result(self, rows: Sequence[Row], loss: Loss | None) -> None:
        if rows:
            self._results.append((self._token, rows, loss))

    def _write_results(self) -> int:
        """Write the results to the table; return how many rows of the last one were still held."""
        owned = 0
        while self._results:
            token, rows, loss = self._results[0]
            if loss is None:
                owned = self._claims.delete(token, rows)
            else:
                owned = self._claims.dead_letter(token, rows, loss)
                self.dead_letters[loss.reason] += owned
            self._results.popleft()
        return owned

    def _count_round(self) -> None:
        left = self._claimed or self._group or self._more or self._results
        if not left and self._range.is_exhausted:
            self.rounds += 1

    def _try(self, act: Callable[[], T], otherwise: T) -> T:
        """Call `act` on the table; a failure is raised by the next claim."""
        try:
            return act()
        except self._claims.errors as error:
            self._failure = self._fail(error)
            return otherwise

    def _fail(self, error: Exception) -> StoreError:
        """Close the connection, so that the next claim opens a new one; return the error."""
        self._claims.close()
        self.failures += 1
        self._more = True
        self._range.reset()  # it may be another server, with other rows
        # Only the first line: the others may show the row.
        return StoreError(f"the outbox: {type(error).__name__}: {get_first_line(error)}")


class RelayBuffer(NamedTuple):
    """Opens the queue of a relay; an idle relay polls the table every `interval` seconds."""

    store: TableStore
    interval: float

    def open(self, max_events: int, max_bytes: int, accounting: Accounting) -> RelayQueue:
        """Return the queue of this process; the client calls it."""
        return RelayQueue(
            self.store, max_events, max_bytes, accounting, poll_interval=self.interval
        )

    @property
    def relays(self) -> bool:
        """True: a relay delivers its table even in a test that sends to another server."""
        return True


class RelayQueue(LeasedQueue):
    """The leased queue of a relay. It accepts no events, so none is ever in memory only."""

    name: str = "the outbox"
    first_retry: float = 0.1
    longest_retry: float = 5.0

    def __init__(
        self,
        store: TableStore,
        max_events: int,
        max_bytes: int,
        accounting: Accounting,
        *,
        poll_interval: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._check = store.tools.check
        super().__init__(
            store, max_events, max_bytes, accounting, poll_interval=poll_interval, clock=clock
        )

    def report_problem(self, message: str, count: int) -> None:  # noqa: ARG002  # nothing is in memory
        """Log that the table cannot be used."""
        log(
            "warning",
            '%s; the rows are kept, and the relay tries again; run "%s"',
            message,
            self._check,
        )


def get_first_line(error: Exception) -> str:
    """Return the first line of a database's error: the following ones may show a row."""
    return printable(str(error).partition("\n")[0], _LONGEST_PROBLEM)


def _is_json_object(data: bytes) -> bool:
    """Return whether a row is a JSON object in UTF-8, without NaN or infinities."""
    try:
        return isinstance(json.loads(data.decode(), parse_constant=_refuse), dict)
    except (ValueError, RecursionError):
        return False


def _refuse(name: str) -> NoReturn:
    raise ValueError(name)
