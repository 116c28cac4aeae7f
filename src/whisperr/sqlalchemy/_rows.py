"""Writes one row of the outbox into the caller's transaction.

Invariant: a commit keeps the row, a rollback discards it, and nothing of the caller's is flushed,
committed or rolled back for it. If the row cannot be written, the transaction is left as it was. If
the database has ended that transaction, the caller gets the database's error, and nothing of the
transaction can be committed.

Threads: the caller's, which owns the connection; with asyncio, SQLAlchemy's greenlet.
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

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from sqlalchemy import Connection, Insert

    from whisperr.protocols import Accounting

_FAILED = "the transaction has already failed and must be rolled back"
_TRANSACTION_LOST = "a row could not be written, and that has ended the caller's transaction"
# The reasons for errors that happen before the database is used.
_EARLY: dict[type[Exception], str] = {
    UnboundExecutionError: (
        "the session has no engine for the outbox table; use Session(binds={events: engine})"
    ),
    MissingGreenlet: (
        "an async session cannot be used here; call `await outbox.atrack(...)` with the "
        "AsyncSession itself"
    ),
    PendingRollbackError: _FAILED,
}
_LONGEST_HINT = 120
_NESTED = "the call interrupts another call that writes a row"
# A missing table or column: PostgreSQL's SQLSTATE, MySQL's numbers.
_MISSING = frozenset({"42P01", "42703", 1054, 1146})
_MISSING_IN_SQLITE = ("no such table", "has no column")
_TRANSACTION_FAILED = "25P02"
# PostgreSQL cannot commit the transaction any more, even if a savepoint seems to save it.
_SERIALIZATION_FAILURE = "40001"

# Whether a row is being written. A signal handler or an event listener that tracks then would use
# the connection in the middle of its work. By context, because tasks of a loop share a thread.
_writing: ContextVar[bool] = ContextVar("whisperr.sqlalchemy.writing", default=False)


class Trouble:
    """Reports what is wrong with the table in `stats().problem`; one object for each outbox.

    It clears only what it has reported itself, because the client's buffer may have a problem, too.
    """

    def __init__(self) -> None:
        self._said = False

    def say(self, accounting: Accounting, problem: str | None) -> None:
        """Record a problem, or None if the table could be used."""
        if problem is not None or self._said:
            self._said = problem is not None
            accounting.store_problem(problem)


class Rows:
    """The sink that adds rows to the table, through the connection that `connect` returns.

    `statement` adds one row. It is made once, because making it takes longer than executing it.
    """

    delivered_by = "`whisperr relay`"

    def __init__(
        self,
        statement: Insert,
        connect: Callable[[], Connection],
        max_bytes: int,
        accounting: Accounting,
        trouble: Trouble,
    ) -> None:
        self._trouble = trouble
        self._statement = statement
        self._connect = connect
        self._max_bytes = max_bytes
        self._accounting = accounting

    def put(self, data: bytes) -> Sequence[bytes]:
        """Add one row; return the event itself if it is too large.

        Raises StoreError, or SQLAlchemyError if the caller's transaction is lost.
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
        """Write one row. Raises StoreError with a reason that repeats nothing of the row."""
        try:
            _insert(self._connect(), self._statement, data)
        except StoreError:
            raise
        except _TransactionLost as lost:
            self._trouble.say(self._accounting, _TRANSACTION_LOST)
            raise lost.error from lost.error.__cause__
        except Exception as error:  # of any database, or of a listener of the application
            if is_interruption(error):
                raise
            reason = _describe(self._statement, error)
            self._trouble.say(self._accounting, reason)
            raise StoreError(reason) from error
        self._trouble.say(self._accounting, None)


class _TransactionLost(Exception):  # noqa: N818  # it is a state
    """The database has ended the transaction of the caller, with this error."""

    def __init__(self, error: SQLAlchemyError) -> None:
        super().__init__()
        self.error = error


def _insert(connection: Connection, statement: Insert, data: bytes) -> None:
    """Write one row in the caller's transaction, which a failure leaves as it was.

    Raises _TransactionLost if the database has ended the transaction.
    """
    if _has_transaction(connection):
        _insert_in_savepoint(connection, statement, {"data": data})
    else:  # there is no transaction that could be lost
        connection.execute(statement, {"data": data})


def _insert_in_savepoint(connection: Connection, statement: Insert, values: dict[str, Any]) -> None:
    """Write one row in a savepoint, because PostgreSQL refuses everything after a failure.

    Raises _TransactionLost, also if SQLite or MySQL has ended the transaction by itself, on a full
    disk or after a deadlock. Then there is no savepoint left to roll back to.
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
    try:  # not above, because a released savepoint cannot be rolled back to
        savepoint.commit()
    except SQLAlchemyError as error:
        _give_up(connection, error)
        raise


def _give_up(connection: Connection, error: SQLAlchemyError) -> None:
    """Make sure that a lost transaction cannot seem to commit; raise _TransactionLost."""
    transaction = connection.get_transaction()
    try:
        if transaction is not None:
            transaction.rollback()
    except SQLAlchemyError:
        connection.invalidate()
    raise _TransactionLost(error) from error


def _has_transaction(connection: Connection) -> bool:
    """Return whether a transaction is open, or will be with the next statement.

    SQLite's driver opens one with the first change only. A savepoint before that would be its own
    transaction, and releasing it would be a commit.
    """
    if connection.dialect.name == "sqlite":
        return bool(getattr(connection.connection.driver_connection, "in_transaction", False))
    detect = getattr(connection.dialect, "detect_autocommit_setting", None)  # since 2.0.43
    if detect is not None:
        try:
            return not detect(connection.connection.dbapi_connection)
        except NotImplementedError:  # the dialect does not know
            pass
    return connection.get_execution_options().get("isolation_level") != "AUTOCOMMIT"


def _describe(statement: Insert, error: Exception) -> str:
    """Return the reason to report, never the database's text, which may repeat the row."""
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
            f"the database has no table {statement.table.fullname}; run a migration, or "
            "metadata.create_all(engine), with the metadata that you passed to whisperr_table"
        )
    suffix = "" if code is None else f" ({code})"
    return f"the row could not be written: {type(error).__name__}{suffix}"


def _get_code(error: DBAPIError) -> str | int | None:
    """Return the code of an error: the SQLSTATE of PostgreSQL's drivers, or MySQL's number."""
    cause: Any = error.orig
    state = getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None)
    first = cause.args[0] if cause is not None and cause.args else None
    return state if isinstance(state, str) else first if isinstance(first, int) else None
