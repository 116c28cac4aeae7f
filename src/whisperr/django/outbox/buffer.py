"""The outbox as an application uses it: an event becomes a row in the caller's own transaction.

Invariant: a put is one INSERT through the connection that the calling thread already has, and uses
no thread, no other connection and no memory. A commit keeps the row, a rollback discards it. If the
row cannot be written, the caller's transaction is left as it was. If the database has ended that
transaction, the caller gets the database's error, and nothing of the transaction can be committed.

Threads: any; Django gives each its own connection. A running event loop may not use one.
"""

from __future__ import annotations

import threading
from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING

from django.apps import apps
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured, SynchronousOnlyOperation
from django.db import DEFAULT_DB_ALIAS, Error, connections, router
from django.utils.asyncio import async_unsafe

from whisperr._frozen import Frozen
from whisperr._process.interruption import is_interruption
from whisperr._queue.memory import EVENT_OVERHEAD_BYTES
from whisperr.errors import StoreError

from .insertion import TransactionLost, get_code, insert

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TypeVar

    from whisperr.protocols import Accounting

    T = TypeVar("T")

APP = "whisperr.django"
OUTBOX_DATABASE = "WHISPERR_OUTBOX_DATABASE"
# A missing table or column: PostgreSQL's SQLSTATE, MySQL's numbers.
_MISSING = frozenset({"42P01", "42703", 1054, 1146})
_MISSING_IN_SQLITE = ("no such table", "has no column")
_IN_A_LOOP = (
    "an event loop runs in this thread, where Django may not use the database; "
    "`await request.whisperr.atrack(...)` or `await sync_to_async(get_client().track)(...)`"
)

_FAILED = "the transaction has already failed and must be rolled back"
_TRANSACTION_LOST = "a row could not be written, and that has ended the caller's transaction"
# The database that a call names with `using=`.
_named: ContextVar[str | None] = ContextVar("whisperr.django.using", default=None)


class OutboxBuffer(Frozen):
    """The outbox as a buffer: a table in the project's own database.

    `WHISPERR_BUFFER = "django"` means `WHISPERR_BUFFER = OutboxBuffer()`. An event is a row in the
    caller's transaction. `manage.py whisperr_relay` delivers the rows.

    Args:
        using: The alias of the database. None: `WHISPERR_OUTBOX_DATABASE`, or without that setting
            the database that the project's routers choose for writing.

    .. versionadded:: 1.0
    """

    __slots__ = ("using",)

    using: str | None
    """The alias of the database; None if the setting or the routers decide."""

    def __init__(self, using: str | None = None) -> None:
        self._set(using=using)

    def open(self, max_events: int, max_bytes: int, accounting: Accounting) -> Rows:  # noqa: ARG002  # no row is ever dropped
        """Return the sink of this process. The client calls this once in each process.

        Args:
            max_events: Ignored, because no row is ever dropped.
            max_bytes: The size in bytes above which an event is refused.
            accounting: Receives problems of the table.

        Returns:
            The sink, which writes rows.

        Raises:
            django.core.exceptions.ImproperlyConfigured: `"whisperr.django"` is not in
                `INSTALLED_APPS`, or the database is not in `DATABASES`.
        """
        for problem in (app_problem(), alias_problem(self.using)):
            if problem is not None:
                raise ImproperlyConfigured(problem)
        return Rows(self.using, max_bytes, accounting)

    def follow(self, put: Callable[[bytes], object]) -> FollowingBuffer:
        """Return a buffer for tests, which writes no rows and needs neither a table nor a database.

        It calls `put` with each event when the transaction of the row would commit.
        """
        return FollowingBuffer(self.using, put)


class FollowingBuffer:
    """The buffer that `OutboxBuffer.follow` returns."""

    def __init__(self, using: str | None, put: Callable[[bytes], object]) -> None:
        self._using = using
        self._put = put

    def open(self, max_events: int, max_bytes: int, accounting: Accounting) -> Rows:  # noqa: ARG002  # no row is ever dropped
        """Return the sink of this process."""
        return Rows(self._using, max_bytes, accounting, partial(_follow_transaction, self._put))


class Rows:
    """The sink that adds rows to the table; `manage.py whisperr_relay` delivers them.

    `insert` writes one row to a database. Tests pass a function that writes none.
    """

    delivered_by = "`manage.py whisperr_relay`"

    def __init__(
        self,
        using: str | None,
        max_bytes: int,
        accounting: Accounting,
        insert: Callable[[str, bytes], None] | None = None,
    ) -> None:
        self._using = using
        self._max_bytes = max_bytes
        self._accounting = accounting
        self._insert = insert or _insert
        self._own = threading.local()
        self._failed = False

    def put(self, data: bytes) -> Sequence[bytes]:
        """Add one row; return the event itself if it is too large.

        Raises StoreError, or django.db.Error if the caller's transaction is lost.
        """
        if len(data) + EVENT_OVERHEAD_BYTES > self._max_bytes:
            return (data,)
        if getattr(self._own, "busy", False):  # in a signal handler, or a receiver of Django's
            raise StoreError("the call interrupts another call of this thread that writes a row")
        self._own.busy = True
        try:
            self._insert(get_alias(self._using), data)
        except (StoreError, Error) as error:
            self._failed = True
            self._accounting.store_problem(
                _TRANSACTION_LOST if isinstance(error, Error) else str(error)
            )
            raise
        finally:
            self._own.busy = False
        if self._failed:
            self._failed = False
            self._accounting.store_problem(None)
        return ()

    def follows(self, using: str | None) -> bool:
        """Return whether a row can join a transaction on `using` (None: the default database)."""
        try:
            return using is not None or get_alias(self._using) == DEFAULT_DB_ALIAS
        except StoreError:
            return True  # `put` reports it


def get_alias(using: str | None = None) -> str:
    """Return the alias of the database for a row. Raises StoreError if there is none."""
    named = _named.get() or using or getattr(settings, OUTBOX_DATABASE, None)
    if named is not None:
        return str(named)
    try:
        from whisperr.django.models import OutboxEvent  # models need loaded apps

        return str(router.db_for_write(OutboxEvent))
    except Exception as error:  # of a project's own router
        if is_interruption(error):
            raise
        raise StoreError(f"no database for the outbox: {type(error).__name__}") from error


def call_with_database(using: str | None, act: Callable[[], T]) -> T:
    """Return `act()`, whose rows are written to this database; None keeps the usual one."""
    before = _named.get()
    try:
        _named.set(using or before)
        result = act()
    finally:
        _named.set(before)
    return result


def app_problem() -> str | None:
    """Return what is missing in INSTALLED_APPS, None if nothing is."""
    if not apps.apps_ready or apps.is_installed(APP):
        return None
    return (
        f'WHISPERR_BUFFER = "django" needs "{APP}" in INSTALLED_APPS, and then manage.py migrate: '
        "the outbox is a table"
    )


def alias_problem(using: str | None = None) -> str | None:
    """Return what is wrong with the database named for the outbox, None if nothing is."""
    named = using or getattr(settings, OUTBOX_DATABASE, None)
    if named is None or named in connections.settings:
        return None
    name = "OutboxBuffer(using)" if using else OUTBOX_DATABASE
    return (
        f"{name} = {named!r}: must be one of DATABASES: {', '.join(sorted(connections.settings))}"
    )


def _insert(alias: str, data: bytes) -> None:
    """Write one row. Raises StoreError with a reason that repeats nothing of the row.

    Raises the database's own error if the database has ended the caller's transaction.
    """
    try:
        connection = connections[alias]
        if connection.in_atomic_block and connection.needs_rollback:
            raise StoreError(_FAILED)
        insert(connection, data)
    except StoreError:
        raise
    except TransactionLost as lost:
        raise lost.error from lost.error.__cause__
    except SynchronousOnlyOperation as error:
        raise StoreError(_IN_A_LOOP) from error
    except Exception as error:  # of any database, or of a wrapper that the project has installed
        if is_interruption(error):
            raise
        raise StoreError(_describe(alias, error)) from error


def _follow_transaction(put: Callable[[bytes], object], alias: str, data: bytes) -> None:
    """Call `put(data)` when others would see a row that is written now.

    Raises StoreError if no row could be written. Transactions that a TestCase opens around a test
    do not count, because the application did not open them.
    """
    connection = connections[alias]
    try:
        _check_no_event_loop()
    except SynchronousOnlyOperation as error:
        raise StoreError(_IN_A_LOOP) from error
    if connection.in_atomic_block and connection.needs_rollback:
        raise StoreError(_FAILED)
    if all(getattr(block, "_from_testcase", False) for block in connection.atomic_blocks):
        put(data)
    else:
        connection.on_commit(partial(put, data))


@async_unsafe(_IN_A_LOOP)
def _check_no_event_loop() -> None:
    """Do nothing; Django raises SynchronousOnlyOperation if an event loop runs."""


def _describe(alias: str, error: Exception) -> str:
    """Return the reason to report, never the database's text, which may repeat the row."""
    code = get_code(error.__cause__)
    if code in _MISSING or any(words in str(error) for words in _MISSING_IN_SQLITE):
        option = "" if alias == DEFAULT_DB_ALIAS else f" --database {alias}"
        return f"the database {alias!r} has no table of the outbox; `manage.py migrate{option}`"
    suffix = "" if code is None else f" ({code})"
    return f"the row could not be written to the database {alias!r}: {type(error).__name__}{suffix}"
