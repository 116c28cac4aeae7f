"""Claims, deletes and dead-letters rows of the outbox for a relay, through Django's ORM.

The rows themselves hold the token of a relay and the end of its lease, by the database's clock.
Every method is one short transaction or one statement, and leaves none open. A relay changes a row
only if the row still has its token: another relay that claims the row after the lease has expired
writes its own token.

Threads: any, each with Django's connection of that thread. Raises django.db.Error.
"""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import TYPE_CHECKING

from django.core.management.base import CommandError
from django.db import Error, connections, transaction
from django.db.models import Q, Subquery

from whisperr._foreign import printable
from whisperr._queue.table.claims import LARGEST_ROW_BYTES, LONGEST_MESSAGE, Row, Tools
from whisperr.django.models import DeadLetter, OutboxEvent

from . import postgresql
from .buffer import get_alias
from .columns import UtcNow, get_data, get_limited_data, read_moments, to_bytes

if TYPE_CHECKING:
    from collections.abc import Container, Sequence
    from typing import Any

    from django.db.backends.base.base import BaseDatabaseWrapper
    from django.db.models import QuerySet

    from whisperr.errors import Loss

# Longer than any real claim: a lease lasts an hour at most and is extended by minutes.
_LONGEST_CLAIM = timedelta(days=1)
TOOLS = Tools("manage.py whisperr_outbox", "manage.py whisperr_check")


class Claims:
    """The tables of one database, as one relay uses them."""

    errors: tuple[type[Exception], ...] = (Error,)
    tools: Tools = TOOLS

    def __init__(self, alias: str, largest_bytes: int = LARGEST_ROW_BYTES) -> None:
        self.alias = alias
        self.largest_bytes = largest_bytes

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open in this thread's connection."""
        return bool(connections[self.alias].in_atomic_block)

    def claim(self, count: int, lease: float, last: int | None = None) -> tuple[str, list[Row]]:
        """Claim the oldest free rows, at most `count`, for `lease` seconds.

        With `last`, claim only rows with a higher id, so that the database skips those before it.
        Return the token and the rows in order. Relays that claim at the same time get different
        rows. If the database can skip locked rows, they do not wait for each other.
        """
        connection = self._connect()
        token = uuid.uuid4().hex
        if connection.vendor == "postgresql":
            found = postgresql.claim_rows(
                connection,
                token,
                count,
                last,
                lease=lease,
                longest=_LONGEST_CLAIM.total_seconds(),
                largest_bytes=self.largest_bytes,
            )
            return token, [self._to_row(*values) for values in found]
        leased = {"token": token, "leased_until": UtcNow() + timedelta(seconds=lease)}
        free = get_free_rows(self.alias).order_by("pk")
        if last is not None:
            free = free.filter(pk__gt=last)
        if _can_lock_some(connection):
            with transaction.atomic(using=self.alias):
                rows = self._fetch(free.select_for_update(skip_locked=True)[:count])
                self._at(rows).update(**leased)
            return token, rows
        oldest = list(free.values_list("pk", flat=True)[:count])
        # A faster relay may have claimed some of them meanwhile, so the UPDATE checks again.
        if not oldest or not get_free_rows(self.alias).filter(pk__in=oldest).update(**leased):
            return token, []
        mine = OutboxEvent.objects.using(self.alias).filter(pk__in=oldest, token=token)
        return token, self._fetch(mine.order_by("pk"))

    def extend(self, token: str, rows: Sequence[Row], seconds: float) -> bool:
        """Let the lease end `seconds` from now; return False if not all rows are held any more."""
        self._connect()
        until = UtcNow() + timedelta(seconds=seconds)
        return self._held(token, rows).update(leased_until=until) == len(rows)

    def release(self, token: str, rows: Sequence[Row]) -> None:
        """Release rows, so that any relay may claim them at once."""
        self._connect()
        self._held(token, rows).update(token="", leased_until=None)

    def delete(self, token: str, rows: Sequence[Row]) -> int:
        """Delete delivered rows; return how many were still held."""
        if not rows:
            return 0
        connection = self._connect()
        if connection.vendor == "postgresql":
            return postgresql.delete_rows(connection, token, [row.id for row in rows])
        return _delete(self._held(token, rows))

    def dead_letter(self, token: str, rows: Sequence[Row], loss: Loss) -> int:
        """Turn rows into dead letters; return how many were still held."""
        self._connect()
        with transaction.atomic(using=self.alias):
            held = self._held(token, rows)
            # Write first, which locks the rows, on SQLite the file, so that nothing changes below.
            held.update(token=token)
            created = read_moments(held, "created_at")  # only of rows that are still held
            refused = [
                DeadLetter(
                    data=row.data,
                    reason=loss.reason,
                    message=printable(loss.message, LONGEST_MESSAGE),
                    status=loss.status,
                    created_at=created[row.id],
                )
                for row in rows
                if row.id in created
            ]
            if any(row.is_large for row in rows):
                self._copy_large(rows, refused, created)
            else:
                DeadLetter.objects.using(self.alias).bulk_create(refused)
            _delete(held)
        return len(created)

    def _copy_large(
        self, rows: Sequence[Row], refused: Sequence[DeadLetter], held: Container[int]
    ) -> None:
        """Add dead letters whose large data the database copies, so it is never in memory."""
        data = OutboxEvent.objects.using(self.alias).annotate(bytes=get_data(self.alias))
        for row, one in zip((row for row in rows if row.id in held), refused, strict=True):
            one.save(using=self.alias, force_insert=True)
            if row.is_large:
                copied = Subquery(data.filter(pk=row.id).values("bytes"))
                DeadLetter.objects.using(self.alias).filter(pk=one.pk).update(data=copied)

    def add(self, events: Sequence[bytes]) -> None:
        """Add waiting rows in one transaction."""
        self._connect()
        rows = OutboxEvent.objects.using(self.alias)
        rows.bulk_create(OutboxEvent(data=data) for data in events)

    def close(self) -> None:
        """Close the connection of this thread; the next use opens a new one."""
        connections[self.alias].close()

    def _connect(self) -> BaseDatabaseWrapper:
        """Return the open connection, in autocommit mode.

        With `AUTOCOMMIT: False` a transaction would stay open during requests, and a failure could
        roll back more than one statement.
        """
        connection = connections[self.alias]
        connection.ensure_connection()
        if not connection.in_atomic_block and not connection.get_autocommit():
            connection.set_autocommit(True)
        return connection

    def _at(self, rows: Sequence[Row]) -> QuerySet[OutboxEvent]:
        return OutboxEvent.objects.using(self.alias).filter(pk__in=[row.id for row in rows])

    def _fetch(self, found: QuerySet[OutboxEvent]) -> list[Row]:
        columns = get_limited_data(self.alias, self.largest_bytes)
        return [self._to_row(*values) for values in found.values_list("pk", *columns)]

    def _to_row(self, key: int, data: object, size: int | None) -> Row:
        return Row(key, to_bytes(data), is_large=(size or 0) > self.largest_bytes)

    def _held(self, token: str, rows: Sequence[Row]) -> QuerySet[OutboxEvent]:
        return self._at(rows).filter(token=token)


def get_free_rows(alias: str) -> QuerySet[OutboxEvent]:
    """Return the rows that no relay holds: never claimed, released, or with an expired lease.

    A lease that is too long to be real counts as expired.
    """
    return OutboxEvent.objects.using(alias).filter(
        Q(leased_until__isnull=True)
        | Q(leased_until__lt=UtcNow())
        | Q(leased_until__gt=UtcNow() + _LONGEST_CLAIM)
    )


def _can_lock_some(connection: BaseDatabaseWrapper) -> bool:
    """Return whether the database can lock the oldest free rows and skip locked ones.

    Decided by Django's features of the database, because SQLite silently ignores `skip_locked`, and
    Oracle cannot limit locked rows.
    """
    features = connection.features
    return (
        features.has_select_for_update_skip_locked
        and features.supports_select_for_update_with_limit
    )


def _delete(rows: QuerySet[Any]) -> int:
    """Delete rows without reading their data, even if signal receivers make Django load them."""
    return rows.only("pk").delete()[0]


def check_tables(using: str | None) -> str:
    """Return the alias of the database of the outbox.

    Raises CommandError, which says what to do, if the tables are missing or out of reach.
    """
    alias = get_alias(using)
    if alias not in connections:
        raise CommandError(f"there is no database {alias!r} in DATABASES")
    try:
        there = connections[alias].introspection.table_names()
    except Error as error:
        reason = str(error).partition("\n")[0]
        raise CommandError(f"the database {alias!r} cannot be used: {reason}") from None
    named = {model._meta.db_table for model in (OutboxEvent, DeadLetter)}  # noqa: SLF001  # documented
    missing = named - set(there)
    if missing:
        raise CommandError(
            f"the database {alias!r} has no tables of the outbox: run "
            f"manage.py migrate --database {alias}"
        )
    return alias
