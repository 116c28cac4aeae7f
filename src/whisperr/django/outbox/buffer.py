"""Step 3 of the door: an event becomes a row of the outbox, in the caller's own transaction.

The law: one INSERT through the connection that the calling thread has anyway, and nothing beside
it: no thread, no connection of our own, nothing kept. A commit keeps the row, a rollback discards
it. When the row cannot be written, the caller's transaction goes on as if nothing had been tried.

Threads: any; Django gives each its own connection. A running event loop may not use one.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

from django.apps import apps
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured, SynchronousOnlyOperation
from django.db import DEFAULT_DB_ALIAS, Error, connections, router, transaction
from django.db.models import BinaryField

from whisperr._frozen import Frozen
from whisperr._queue.memory import EVENT_OVERHEAD_BYTES, PutOnly
from whisperr.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import TypeVar

    from django.db.backends.base.base import BaseDatabaseWrapper

    from whisperr.protocols import Buffer

    T = TypeVar("T")

APP = "whisperr.django"
OUTBOX_DATABASE = "WHISPERR_OUTBOX_DATABASE"
# Counting millions of rows takes a database seconds, and `stats()` is asked often.
MOST_COUNTED = 10_000
# A table or a column that is not there: PostgreSQL's SQLSTATE, MySQL's numbers.
_MISSING = frozenset({"42P01", "42703", 1054, 1146})
_MISSING_IN_SQLITE = ("no such table", "has no column")
_IN_A_LOOP = (
    "an event loop runs in this thread, where Django may not use the database; "
    "`await request.whisperr.atrack(...)` or `await sync_to_async(get_client().track)(...)`"
)
_NESTED = "it interrupts another call of this thread that writes a row"
_BROKEN = "the transaction has failed already and only waits for its rollback"

# The database that a call asks for by `using=`.
_asked: ContextVar[str | None] = ContextVar("whisperr.django.using", default=None)


class OutboxBuffer(Frozen):
    """The outbox: a table of the project's own database. `WHISPERR_BUFFER = "django"` is this one.

    - `using`: the alias of the database; left out, it is WHISPERR_OUTBOX_DATABASE, and without
      that setting what the project's routers say for writing.

    `manage.py whisperr_relay` delivers the rows.
    """

    __slots__ = ("using",)

    using: str | None

    def __init__(self, using: str | None = None) -> None:
        self._set(using=using)

    def open(self, max_events: int, max_bytes: int) -> Buffer:  # noqa: ARG002  # nothing that waits is ever dropped here
        """Return the buffer of this process; the client calls it.

        Raises ImproperlyConfigured without "whisperr.django" in INSTALLED_APPS, or for a database
        that is not in DATABASES.
        """
        for problem in (app_problem(), alias_problem(self.using)):
            if problem is not None:
                raise ImproperlyConfigured(problem)
        return Rows(self.using, max_bytes)


class Rows(PutOnly):
    """The table as a buffer that others deliver: all that it does is to add."""

    delivered_by = "`manage.py whisperr_relay`"

    def __init__(self, using: str | None, max_bytes: int) -> None:
        self._using = using
        self._max_bytes = max_bytes
        self._own = threading.local()
        self.problem: str | None = None

    def put(self, data: bytes) -> Sequence[bytes]:
        """Add one row; return the event itself when it is too large. Raises StoreError."""
        if len(data) + EVENT_OVERHEAD_BYTES > self._max_bytes:
            return (data,)
        if getattr(self._own, "busy", False):  # a signal handler, or a receiver of Django's
            raise StoreError(_NESTED)
        self._own.busy = True
        try:
            _written(alias_of(self._using), data)
        except StoreError as error:
            self.problem = str(error)
            raise
        finally:
            self._own.busy = False
        self.problem = None
        return ()

    @property
    def stored(self) -> int:
        """Count the rows that wait, MOST_COUNTED at most; 0 when they cannot be read now."""
        if getattr(self._own, "busy", False):
            return 0
        try:
            return _counted(connections[alias_of(self._using)])
        except Exception:  # noqa: BLE001  # an event loop, a database that is away: no error here
            return 0

    def follows(self, using: str | None) -> bool:
        """Say whether a row can be written in a transaction on `using`, None: the default one."""
        try:
            return using is not None or alias_of(self._using) == DEFAULT_DB_ALIAS
        except StoreError:
            return True  # and `put` reports it


def alias_of(using: str | None = None) -> str:
    """Return the database for a row of this moment. Raises StoreError when none can be found."""
    named = _asked.get() or using or getattr(settings, OUTBOX_DATABASE, None)
    if named is not None:
        return str(named)
    try:
        from whisperr.django.models import OutboxEvent  # not before the apps are loaded

        return str(router.db_for_write(OutboxEvent))
    except Exception as error:  # of a project's own router
        raise StoreError(f"no database for the outbox: {type(error).__name__}") from error


@contextmanager
def written_to(using: str | None) -> Iterator[None]:
    """Let rows of this block go to this database; None changes nothing."""
    token = _asked.set(using or _asked.get())
    try:
        yield
    finally:
        _asked.reset(token)


def app_problem() -> str | None:
    """Say what is missing in INSTALLED_APPS."""
    if not apps.apps_ready or apps.is_installed(APP):
        return None
    return (
        f'WHISPERR_BUFFER = "django" needs "{APP}" in INSTALLED_APPS, and then manage.py migrate: '
        "the outbox is a table"
    )


def alias_problem(using: str | None = None) -> str | None:
    """Say what is wrong with the database that is named for the outbox."""
    named = using or getattr(settings, OUTBOX_DATABASE, None)
    if named is None or named in connections.settings:
        return None
    name = "OutboxBuffer(using)" if using else OUTBOX_DATABASE
    return (
        f"{name} = {named!r}: must be one of DATABASES: {', '.join(sorted(connections.settings))}"
    )


def _written(alias: str, data: bytes) -> None:
    """Write one row. Raises StoreError that says why not, and never what was in it."""
    from whisperr.django.models import OutboxEvent  # not before the apps are loaded

    table = OutboxEvent._meta.db_table  # noqa: SLF001  # documented by Django

    def insert() -> None:
        # Not through a model: no receiver of a project's own may change, refuse or track it.
        quote = connection.ops.quote_name
        columns = ", ".join(map(quote, ("data", "token")))
        into = f"INSERT INTO {quote(table)} ({columns}) VALUES (%s, %s)"  # noqa: S608  # our names
        with connection.cursor() as cursor:
            cursor.execute(into, [BinaryField().get_db_prep_save(data, connection), ""])

    try:
        connection = connections[alias]
        if connection.in_atomic_block and connection.needs_rollback:
            raise StoreError(_BROKEN)
        _done(connection, insert)
    except StoreError:
        raise
    except SynchronousOnlyOperation as error:
        raise StoreError(_IN_A_LOOP) from error
    except Exception as error:  # of any database, or of what a project has put before it
        raise StoreError(_failure(alias, error)) from error


def _done(connection: BaseDatabaseWrapper, act: Callable[[], T]) -> T:
    """Act; outside of a transaction once more, when it was the connection that was dead.

    Django replaces such a one at the next request, and a thread of a worker may never have one.
    """
    try:
        return _apart(connection, act)
    except Error:
        if connection.in_atomic_block or not connection.autocommit:
            raise
        connection.close_if_unusable_or_obsolete()
        if connection.connection is not None:
            raise
        return act()


def _apart(connection: BaseDatabaseWrapper, act: Callable[[], T]) -> T:
    """Act in the caller's transaction; a failure leaves it as it was.

    PostgreSQL refuses everything after a failure until a rollback, so there is a savepoint, also
    in a transaction by hand. Outside of a transaction Django makes none.
    """
    point = connection.savepoint()
    try:
        result = act()
        if point is not None:
            connection.savepoint_commit(point)
    except BaseException:
        if point is not None:
            _go_back(connection, point)
        raise
    return result


def _go_back(connection: BaseDatabaseWrapper, point: str) -> None:
    try:
        connection.savepoint_rollback(point)
        connection.savepoint_commit(point)
    except Error:  # the whole transaction is gone, and must not seem to commit
        if connection.in_atomic_block:
            transaction.set_rollback(True, using=connection.alias)


def _failure(alias: str, error: Exception) -> str:
    """Return what is reported; never the text of the database, which may repeat the row."""
    code = _code_of(error.__cause__)
    if code in _MISSING or any(words in str(error) for words in _MISSING_IN_SQLITE):
        option = "" if alias == DEFAULT_DB_ALIAS else f" --database {alias}"
        return f"the database {alias!r} has no table of the outbox; `manage.py migrate{option}`"
    said = "" if code is None else f" ({code})"
    return f"the row could not be written to the database {alias!r}: {type(error).__name__}{said}"


def _code_of(cause: BaseException | None) -> str | int | None:
    """Return the number of an error of psycopg 3 and 2, or of MySQL's drivers."""
    state = getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None)
    first = cause.args[0] if cause is not None and cause.args else None
    return state if isinstance(state, str) else first if isinstance(first, int) else None


def _counted(connection: BaseDatabaseWrapper) -> int:
    from whisperr.django.models import OutboxEvent  # not before the apps are loaded

    if connection.in_atomic_block and connection.needs_rollback:
        return 0
    closed = connection.connection is None
    rows = OutboxEvent.objects.using(connection.alias)
    try:
        return _done(connection, rows[:MOST_COUNTED].count)
    finally:
        if closed and not connection.in_atomic_block:
            connection.close()  # it was opened for this alone
