"""The contract of `Claims`: one class of tests for every kind of outbox.

A test module makes a subclass for a kind and a database, with a fixture `outbox`. The same SQL
reads and damages the tables of all kinds, because their names and columns are the same.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import pytest

from tests.outbox.relays import events
from whisperr._queue.table.claims import Row
from whisperr.errors import Loss

if TYPE_CHECKING:
    from whisperr._queue.table.claims import Claims

REJECTED = Loss(1, "rejected", "HTTP 400 \x1b[31minvalid_event", 400)
LEASE = 15.0


class OutboxTables(ABC):
    """The tables of one database, and claims on them."""

    is_sqlite: bool

    @abstractmethod
    def connect(self, largest_bytes: int = 1_000_000) -> Claims:
        """Return the claims of another relay."""

    @abstractmethod
    def execute(self, statement: str) -> list[tuple[Any, ...]]:
        """Run one statement, and return its rows."""

    def get_ids(self) -> list[int]:
        return [one for (one,) in self.execute("SELECT id FROM whisperr_outboxevent ORDER BY id")]

    def get_dead(self, columns: str) -> list[tuple[Any, ...]]:
        return self.execute(f"SELECT {columns} FROM whisperr_deadletter ORDER BY id")

    def get_lease(self, id_: int) -> float:
        """Return how many seconds a lease still lasts."""
        left = "EXTRACT(EPOCH FROM leased_until - STATEMENT_TIMESTAMP())"
        if self.is_sqlite:
            left = "(JULIANDAY(leased_until) - JULIANDAY('NOW')) * 86400.0"
        ((found,),) = self.execute(f"SELECT {left} FROM whisperr_outboxevent WHERE id = {id_}")
        return float(found)

    def set_lease(self, seconds: int) -> None:
        """Make every lease end this many seconds from now."""
        moment = f"STATEMENT_TIMESTAMP() + INTERVAL '{seconds} seconds'"
        if self.is_sqlite:
            moment = f"STRFTIME('%Y-%m-%d %H:%M:%f', 'NOW', '{seconds} seconds')"
        self.execute(f"UPDATE whisperr_outboxevent SET leased_until = {moment}")


def to_data(rows: Any) -> list[bytes]:
    return [row.data for row in rows]


class ClaimsContract:
    """Holds for the outbox of Django and for that of SQLAlchemy, on every database."""

    def test_the_oldest_free_rows_are_claimed_in_order_for_the_time_of_the_lease(
        self, outbox: OutboxTables
    ) -> None:
        claims = outbox.connect()
        claims.add(events(5))
        token, rows = claims.claim(3, LEASE)
        assert len(token) == 32
        assert [row.id for row in rows] == outbox.get_ids()[:3]
        assert to_data(rows)[0].startswith(b'{"event_type":"payment_failed"')
        assert LEASE - 5 < outbox.get_lease(rows[0].id) <= LEASE
        assert not claims.in_transaction

    def test_two_relays_claim_different_rows(self, outbox: OutboxTables) -> None:
        first, second = outbox.connect(), outbox.connect()
        first.add(events(5))
        one, other = first.claim(3, LEASE), second.claim(3, LEASE)
        assert [row.id for row in [*one[1], *other[1]]] == outbox.get_ids()
        assert one[0] != other[0]
        assert list(first.claim(3, LEASE)[1]) == []

    def test_rows_above_an_id_are_claimed_without_those_below(self, outbox: OutboxTables) -> None:
        claims = outbox.connect()
        claims.add(events(5))
        ids = outbox.get_ids()
        assert [row.id for row in claims.claim(10, LEASE, ids[2])[1]] == ids[3:]
        assert [row.id for row in claims.claim(10, LEASE)[1]] == ids[:3]

    def test_a_lease_is_extended_while_all_rows_are_held(self, outbox: OutboxTables) -> None:
        claims = outbox.connect()
        claims.add(events(2))
        token, rows = claims.claim(2, LEASE)
        assert claims.extend(token, rows, 60) is True
        assert 50 < outbox.get_lease(rows[1].id) <= 60
        outbox.execute(f"UPDATE whisperr_outboxevent SET token = 'x' WHERE id = {rows[1].id}")
        assert claims.extend(token, rows, 60) is False

    def test_released_rows_can_be_claimed_by_any_relay_at_once(self, outbox: OutboxTables) -> None:
        claims = outbox.connect()
        claims.add(events(2))
        token, rows = claims.claim(2, LEASE)
        claims.release(token, rows)
        free = "SELECT count(*) FROM whisperr_outboxevent WHERE token = '' AND leased_until IS NULL"
        assert outbox.execute(free) == [(2,)]
        assert to_data(outbox.connect().claim(2, LEASE)[1]) == to_data(rows)

    @pytest.mark.parametrize("seconds", [-1, 3 * 86_400])
    def test_a_lease_that_has_run_out_or_cannot_be_one_frees_a_row(
        self, outbox: OutboxTables, seconds: int
    ) -> None:
        claims = outbox.connect()
        claims.add(events(1))
        token, rows = claims.claim(1, LEASE)
        outbox.set_lease(seconds)
        other, again = outbox.connect().claim(1, LEASE)
        assert [row.id for row in again] == [row.id for row in rows]
        assert (claims.delete(token, rows), outbox.connect().delete(other, again)) == (0, 1)

    def test_only_rows_that_are_held_are_deleted(self, outbox: OutboxTables) -> None:
        claims = outbox.connect()
        claims.add(events(3))
        token, rows = claims.claim(2, LEASE)
        assert claims.delete("x" * 32, rows) == 0
        assert claims.delete(token, rows) == 2
        assert claims.delete(token, []) == 0
        assert len(outbox.get_ids()) == 1

    def test_refused_rows_are_kept_with_the_reason(self, outbox: OutboxTables) -> None:
        claims = outbox.connect()
        claims.add(events(3))
        (created, *_) = outbox.execute("SELECT created_at FROM whisperr_outboxevent ORDER BY id")
        token, rows = claims.claim(3, LEASE)
        outbox.execute(f"UPDATE whisperr_outboxevent SET token = 'x' WHERE id = {rows[2].id}")
        assert claims.dead_letter(token, rows, REJECTED) == 2
        assert outbox.get_ids() == [rows[2].id]
        assert [bytes(data) for (data,) in outbox.get_dead("data")] == to_data(rows[:2])
        kept = ("rejected", "HTTP 400 \\x1b[31minvalid_event", 400)
        assert outbox.get_dead("reason, message, status") == [kept, kept]
        assert str(outbox.get_dead("created_at")[0][0])[:22] == str(created[0])[:22]
        assert not claims.in_transaction

    def test_a_row_without_a_status_is_kept_without_one(self, outbox: OutboxTables) -> None:
        claims = outbox.connect()
        claims.add(events(1))
        token, rows = claims.claim(1, LEASE)
        assert claims.dead_letter(token, rows, Loss(1, "expired", "x" * 5_000)) == 1
        ((reason, message, status),) = outbox.get_dead("reason, message, status")
        assert (reason, status, len(message)) == ("expired", None, 2_001)

    def test_a_large_row_is_not_read_and_kept_whole_when_it_is_refused(
        self, outbox: OutboxTables
    ) -> None:
        claims = outbox.connect(largest_bytes=300)
        large = b"{" + b" " * 400 + b"}"
        claims.add([events(1)[0], large])
        token, rows = claims.claim(2, LEASE)
        assert [(row.data[:1], row.is_large) for row in rows] == [(b"{", False), (b"", True)]
        assert claims.dead_letter(token, rows, REJECTED) == 2
        assert [bytes(data) for (data,) in outbox.get_dead("data")] == [rows[0].data, large]

    def test_a_row_of_text_with_damaged_dates_is_claimed_and_kept(
        self, outbox: OutboxTables
    ) -> None:
        if not outbox.is_sqlite:
            pytest.skip("only SQLite has values of any type in a column")
        outbox.execute(
            "INSERT INTO whisperr_outboxevent (data, token, created_at) VALUES ('{}é', '', 'never')"
        )
        claims = outbox.connect()
        token, rows = claims.claim(2, LEASE)
        assert to_data(rows) == ["{}é".encode()]
        assert claims.dead_letter(token, rows, REJECTED) == 1
        assert [bytes(data) for (data,) in outbox.get_dead("data")] == ["{}é".encode()]

    def test_a_closed_connection_is_opened_again(self, outbox: OutboxTables) -> None:
        claims = outbox.connect()
        claims.add(events(1))
        claims.close()
        token, rows = claims.claim(1, LEASE)
        claims.close()
        assert claims.delete(token, [Row(rows[0].id, b"")]) == 1
