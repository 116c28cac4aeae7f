"""Writes one row of the outbox into the transaction of the caller.

Invariant: a commit keeps the row, a rollback discards it, and nothing of the caller's is flushed,
committed or rolled back for it. When the row cannot be written, the transaction is left as it was;
where the database has ended that transaction, the caller gets the error of the database, and
nothing of the transaction can be committed.

Threads: that of the connection, which the caller has; with asyncio inside of SQLAlchemy's greenlet.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING

from sqlalchemy.exc import (
    DBAPIError,
    InvalidRequestError,
    MissingGreenlet,
    PendingRollbackError,
    SQLAlchemyError,
    UnboundExecutionError,
)

from whisperr._foreign import printable
from whisperr._process.interruption import is_interruption
from whisperr._queue.memory import EVENT_OVERHEAD_BYTES
from whisperr.errors import StoreError

from ._statements import insert_event

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from sqlalchemy import Connection, Insert, Table

    from whisperr.protocols import Accounting

_FAILED = "the transaction has failed already and only waits for its rollback"
_TRANSACTION_LOST = "a row could not be written, which has ended the transaction of the caller"
# What is said for errors that come before anything is asked of the database.
_EARLY: dict[type[Exception], str] = {
    UnboundExecutionError: (
        "the session has no database for the table of the outbox; Session(binds={events: engine})"
    ),
    MissingGreenlet: (
        "the session is that of asyncio, which cannot wait here; `await outbox.atrack(...)` with "
        "the AsyncSession itself"
    ),
    PendingRollbackError: _FAILED,
}
_LONGEST_HINT = 120
_NESTED = "it interrupts another call that writes a row"
# A table or a column that is not there: PostgreSQL's SQLSTATE, MySQL's numbers.
_MISSING = frozenset({"42P01", "42703", 1054, 1146})
_MISSING_IN_SQLITE = ("no such table", "has no column")
_TRANSACTION_FAILED = "25P02"
# PostgreSQL cannot commit the transaction any more, also where a savepoint seems to save it.
_SERIALIZATION_FAILURE = "40001"

# A row is being written: what a signal handler or an event listener tracks then would use the
# connection in the middle of its work. By context, because tasks of a loop share a thread.
_writing: ContextVar[bool] = ContextVar("whisperr.sqlalchemy.writing", default=False)


class Rows:
    """The table as a sink, through the connection that `connect` returns."""

    delivered_by = "`whisperr relay`"

    def __init__(
        self,
        events: Table,
        connect: Callable[[], Connection],
        max_bytes: int,
        accounting: Accounting,
    ) -> None:
        self._events = events
        self._connect = connect
        self._max_bytes = max_bytes
        self._accounting = accounting

    def put(self, data: bytes) -> Sequence[bytes]:
        """Add one row; return the event itself when it is too large.

        Raises StoreError, or SQLAlchemyError when the transaction of the caller is lost.
        """
        if len(data) + EVENT_OVERHEAD_BYTES > self._max_bytes:
            return (data,)
        if _writing.get():
            raise StoreError(_NESTED)
        before = _writing.set(True)
        try:
            self._write(data)
        finally:
            _writing.reset(before)
        return ()

    def _write(self, data: bytes) -> None:
        """Write one row. Raises StoreError that says why not, without anything of the row."""
        try:
            _insert(self._connect(), insert_event(self._events), data)
        except StoreError:
            raise
        except _TransactionLost as lost:
            self._accounting.store_problem(_TRANSACTION_LOST)
            raise lost.error from lost.error.__cause__
        except Exception as error:  # of any database, or of a listener of the application
            if is_interruption(error):
                raise
            reason = _describe(self._events, error)
            self._accounting.store_problem(reason)
            raise StoreError(reason) from error
        self._accounting.store_problem(None)


class _TransactionLost(Exception):  # noqa: N818  # it is a state
    """The database has ended the transaction of the caller, with this error."""

    def __init__(self, error: SQLAlchemyError) -> None:
        super().__init__()
        self.error = error


def _insert(connection: Connection, statement: Insert, data: bytes) -> None:
    """Write one row in the caller's transaction; a failure leaves that as it was.

    Raises _TransactionLost when the database does not.
    """
    if _has_transaction(connection):
        _insert_in_savepoint(connection, statement, {"data": data})
    else:  # none that could be lost
        connection.execute(statement, {"data": data})


def _insert_in_savepoint(connection: Connection, statement: Insert, values: dict[str, Any]) -> None:
    """Write one row; PostgreSQL refuses everything after a failure until a rollback.

    Raises _TransactionLost, also where SQLite and MySQL have ended the transaction by themselves:
    on a full disk, or after a deadlock. Then they have no savepoint left to return to.
    """
    savepoint = connection.begin_nested()
    try:
        connection.execute(statement, values)
    except BaseException as error:
        try:
            savepoint.rollback()
        except Exception as second:
            if isinstance(error, SQLAlchemyError) and not is_interruption(second):
                _give_up(connection, error)
            raise
        if isinstance(error, DBAPIError) and _get_code(error) == _SERIALIZATION_FAILURE:
            _give_up(connection, error)
        raise
    try:  # not above: a savepoint that is released cannot be returned to
        savepoint.commit()
    except SQLAlchemyError as error:
        _give_up(connection, error)
        raise


def _give_up(connection: Connection, error: SQLAlchemyError) -> None:
    """Prevent that a lost transaction seems to commit; raises _TransactionLost for its error."""
    transaction = connection.get_transaction()
    try:
        if transaction is not None:
            transaction.rollback()
    except SQLAlchemyError:
        connection.invalidate()
    raise _TransactionLost(error) from error


def _has_transaction(connection: Connection) -> bool:
    """Return whether the database is in a transaction, or in one with the next statement.

    The driver of SQLite begins one with the first change only. A savepoint before that would be a
    transaction of its own, and its release a commit.
    """
    if connection.dialect.name == "sqlite":
        return bool(getattr(connection.connection.driver_connection, "in_transaction", False))
    detect = getattr(connection.dialect, "detect_autocommit_setting", None)  # since 2.0.43
    if detect is not None:
        try:
            return not detect(connection.connection.dbapi_connection)
        except NotImplementedError:  # of a dialect that does not know
            pass
    return connection.get_execution_options().get("isolation_level") != "AUTOCOMMIT"


def _describe(events: Table, error: Exception) -> str:
    """Return what is reported; never the text of the database, which may repeat the row."""
    if not isinstance(error, DBAPIError):
        hint = ""
        if isinstance(error, InvalidRequestError):  # such as "Autobegin is disabled"
            hint = f": {printable(str(error).partition(chr(10))[0], _LONGEST_HINT)}"
        default = f"the row could not be written: {type(error).__name__}{hint}"
        return _EARLY.get(type(error), default)
    code = _get_code(error)
    if code == _TRANSACTION_FAILED:
        return _FAILED
    if code in _MISSING or any(words in str(error.orig) for words in _MISSING_IN_SQLITE):
        return (
            f"the database has no table {events.fullname}; run a migration, or "
            "metadata.create_all(engine), with the metadata that whisperr_table was given"
        )
    suffix = "" if code is None else f" ({code})"
    return f"the row could not be written: {type(error).__name__}{suffix}"


def _get_code(error: DBAPIError) -> str | int | None:
    """Return the number of an error: SQLSTATE of PostgreSQL's drivers, or that of MySQL's."""
    cause: Any = error.orig
    state = getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None)
    first = cause.args[0] if cause is not None and cause.args else None
    return state if isinstance(state, str) else first if isinstance(first, int) else None
