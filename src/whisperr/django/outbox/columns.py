"""Reads the columns of the outbox whatever they contain, because anything may have written a row.

SQLite keeps values of any type in a column, and PostgreSQL has dates that Python does not have.
Django raises when it reads such a value; these functions do not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.db import connections
from django.db.models import BinaryField, Case, CharField, F, Value, When
from django.db.models.functions import Cast, Length, Now, Substr
from django.db.models.lookups import GreaterThan
from django.utils import timezone
from django.utils.dateparse import parse_datetime

from whisperr._foreign import printable
from whisperr._process.interruption import is_interruption

if TYPE_CHECKING:
    from datetime import datetime

    from django.db.backends.base.base import BaseDatabaseWrapper
    from django.db.models import Model, QuerySet
    from django.db.models.expressions import Combinable
    from django.db.models.sql.compiler import SQLCompiler

# Enough for the kind of an event; a list of the admin reads so much of each row.
_HEAD_BYTES = 256
_LONGEST_MOMENT = 40  # characters
# Databases whose values may have a type that neither the column nor Python has.
_LENIENT = frozenset({"sqlite", "postgresql"})
# Databases whose LENGTH counts the bytes of a binary column. (Oracle has no such function.)
_MEASURING = frozenset({"sqlite", "postgresql", "mysql"})


class UtcNow(Now):
    """The time of the database's clock, in UTC even if the MySQL server uses local time.

    Relays compare their leases, and local time jumps.
    """

    def as_mysql(
        self,
        compiler: SQLCompiler,
        connection: BaseDatabaseWrapper,
        **context: Any,  # noqa: ANN401  # as Django calls it
    ) -> tuple[str, Any]:
        """Return the SQL for MySQL and MariaDB."""
        return self.as_sql(compiler, connection, template="UTC_TIMESTAMP(6)", **context)


def get_data(alias: str) -> Combinable:
    """Return the expression for an event's bytes."""
    return Cast("data", BinaryField()) if connections[alias].vendor == "sqlite" else F("data")


def get_limited_data(alias: str, largest: int) -> tuple[Combinable, Combinable]:
    """Return expressions for an event's bytes, NULL above `largest` bytes, and for their number.

    If the database cannot count them, the number is 0 and nothing is limited.
    """
    data = get_data(alias)
    if connections[alias].vendor not in _MEASURING:
        return data, Value(0)
    size = Length(data)
    too_large = When(GreaterThan(size, largest), then=Value(None))
    return Case(too_large, default=data, output_field=BinaryField()), size


def to_bytes(value: object) -> bytes:
    """Return a driver's value of a binary column as bytes."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    return b"" if value is None else str(value).encode(errors="replace")


def read_moments(rows: QuerySet[Any], name: str) -> dict[int, datetime]:
    """Return a date of each row by its key; the present for a date that cannot be read."""
    found: dict[int, datetime | None]
    try:
        found = dict(rows.values_list("pk", name))
    except Exception as error:
        if is_interruption(error):
            raise
        # This raises if the database is away, so that no date counts as damaged then.
        keys = list(rows.values_list("pk", flat=True))
        found = {key: _read_moment(rows.filter(pk=key), name) for key in keys}
    return {key: moment or timezone.now() for key, moment in found.items()}


def _read_moment(row: QuerySet[Any], name: str) -> datetime | None:
    try:
        return row.values_list(name, flat=True).get()  # type: ignore[no-any-return]  # a date
    except Exception as error:
        if is_interruption(error):
            raise
        return None


def make_readable(rows: QuerySet[Any], *moments: str) -> QuerySet[Any]:
    """Return the rows with the annotations that `get_head` and `get_moment` read."""
    alias = rows.db
    vendor = connections[alias].vendor
    if vendor not in _LENIENT:
        return rows
    text: Any = BinaryField() if vendor == "sqlite" else CharField()
    read: dict[str, Any] = {f"{name}_text": Cast(name, text) for name in moments}
    head: Any = Substr(get_data(alias), 1, _HEAD_BYTES, output_field=BinaryField())
    return rows.defer("data", *moments).annotate(data_head=head, **read)


def get_head(row: Model) -> bytes:
    """Return the first bytes of a row's event."""
    known = vars(row)
    return to_bytes(known["data_head"] if "data_head" in known else vars(row).get("data"))


def get_moment(row: Model, name: str) -> datetime | str | None:
    """Return a date of a row from `make_readable`, or its text if it is not a valid date."""
    if f"{name}_text" not in vars(row):
        return getattr(row, name)  # type: ignore[no-any-return]  # a date
    raw: Any = getattr(row, f"{name}_text")
    if raw is None:
        return None
    text = raw if isinstance(raw, str) else to_bytes(raw).decode(errors="replace")
    try:
        moment = parse_datetime(text)
    except ValueError:
        moment = None
    if moment is None:
        return printable(text, _LONGEST_MOMENT)
    if not settings.USE_TZ:
        return moment.replace(tzinfo=None)
    zone = connections[str(row._state.db)].timezone  # noqa: SLF001  # documented by Django
    return moment if timezone.is_aware(moment) else timezone.make_aware(moment, zone)


def read_data(row: Model, longest: int) -> tuple[bytes, bool]:
    """Return the first `longest` bytes of a row's event, and whether those are all."""
    alias = str(row._state.db)  # noqa: SLF001  # likewise
    if connections[alias].vendor not in _LENIENT:
        data = to_bytes(vars(row).get("data"))
    else:
        head: Any = Substr(get_data(alias), 1, longest + 1, output_field=BinaryField())
        rows: QuerySet[Any] = type(row)._default_manager.using(alias)  # noqa: SLF001  # likewise
        data = to_bytes(rows.filter(pk=row.pk).values_list(head, flat=True).first())
    return data[:longest], len(data) <= longest
