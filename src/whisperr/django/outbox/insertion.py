"""Writes one row, in the transaction of the caller where there is one, and undoes what fails.

Invariant: after a failure the caller's transaction is as it was before, or it cannot be committed
any more and the caller gets the error of the database (TransactionLost).

PostgreSQL refuses everything after a failure until a rollback, so the row has a savepoint of its
own in a transaction. There its three statements are sent at once where the driver can do that: one
round trip instead of three.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import Error, transaction
from django.db.models import BinaryField

from whisperr._process.interruption import is_interruption

if TYPE_CHECKING:
    from typing import Any

    from django.db.backends.base.base import BaseDatabaseWrapper
    from django.db.backends.utils import CursorWrapper

# After it no savepoint helps, also where it seems to.
_SERIALIZATION_FAILURE = "40001"
# The savepoint of a row that is sent at once. One that an interrupted call has left is harmless:
# the transaction has failed then, and only a return to it, or to an earlier savepoint, helps.
_POINT = "whisperr_event"
# The states of a transaction that libpq knows, as numbers: none is open, or the driver has not
# begun it yet; one is open; a statement of it has failed.
_IDLE, _IN_TRANSACTION, _IN_ERROR = 0, 2, 3
# What the drivers say of the statements that were sent at once, when the server has run them all:
# psycopg 3 names the first, psycopg2 the last one.
_DONE = frozenset({"SAVEPOINT", "RELEASE"})
_IS_LAST = "id = currval(pg_get_serial_sequence(%s, 'id')) AND data = %s"


class TransactionLost(Exception):  # noqa: N818  # it is a state
    """The database has ended the transaction of the caller, with this error."""

    def __init__(self, error: Error) -> None:
        super().__init__()
        self.error = error


def insert(connection: BaseDatabaseWrapper, data: bytes) -> None:
    """Write one row; outside of a transaction once more with a new connection, if it was dead.

    Django replaces a dead one at the next request, which a thread of a worker may never have.
    """
    try:
        _insert_in_savepoint(connection, data)
    except Error:
        if _is_in_transaction(connection):
            raise
        connection.close_if_unusable_or_obsolete()
        if connection.connection is not None:
            raise
        with connection.cursor() as cursor:
            cursor.execute(*_get_statement(connection, data))


def get_code(cause: BaseException | None) -> str | int | None:
    """Return the number of an error of psycopg 3 and 2, or of MySQL's drivers."""
    state = getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None)
    first = cause.args[0] if cause is not None and cause.args else None
    return state if isinstance(state, str) else first if isinstance(first, int) else None


def _insert_in_savepoint(connection: BaseDatabaseWrapper, data: bytes) -> None:
    """Write one row in the caller's transaction; a failure leaves that as it was.

    Also in a transaction by hand, where Django's `atomic` could leave a dead connection in use.
    Outside of a transaction Django makes no savepoint. Raises TransactionLost when that could not
    help.
    """
    row = _Insertion(connection, data)
    try:
        row.write()
    except BaseException as error:
        if _is_in_transaction(connection) and not row.undo(error):
            _give_up(connection, error)
        raise
    if row.point is not None:
        try:  # not above: a savepoint that is released cannot be returned to
            connection.savepoint_commit(row.point)
        except Error as error:
            _give_up(connection, error)
            raise


class _Insertion:
    """One row that is being written.

    - `point`: the savepoint to release when the row is written; None without one.
    """

    __slots__ = ("_at_once", "_before", "_connection", "_data", "_is_written", "point")

    def __init__(self, connection: BaseDatabaseWrapper, data: bytes) -> None:
        self._connection = connection
        self._data = data
        self._at_once = False
        self._before: int | None = None  # the state of the transaction
        self._is_written = False
        self.point: str | None = None

    def write(self) -> None:
        """Write the row, at once with its savepoint where that is possible."""
        connection = self._connection
        if _may_send_at_once(connection):
            with connection.cursor() as cursor:
                if _takes_several_statements(cursor.cursor):
                    self._write_at_once(cursor)
                    return
        self.point = connection.savepoint()
        with connection.cursor() as cursor:
            cursor.execute(*_get_statement(connection, self._data))

    def _write_at_once(self, cursor: CursorWrapper) -> None:
        self._before, self._at_once = _get_state(self._connection), True
        into, values = _get_statement(self._connection, self._data)
        try:
            cursor.execute(_put_in_savepoint(self._connection, into), values)
        finally:
            self._is_written = cursor.statusmessage in _DONE

    def undo(self, error: BaseException) -> bool:
        """Undo what was done of it; return whether the transaction is as it was before."""
        connection = self._connection
        if not self._at_once:
            return _undo(connection, self.point, error)
        state = _get_state(connection)
        if state == _IN_ERROR:
            return _return_at_once(connection) and _may_commit(error)
        if self._is_written:  # and something raised after that, such as a signal handler
            _delete_last(connection, self._data)
        return state == _IN_TRANSACTION or state == self._before == _IDLE


def _may_send_at_once(connection: BaseDatabaseWrapper) -> bool:
    """Return whether a row needs a savepoint now, and PostgreSQL takes several statements."""
    return (
        connection.vendor == "postgresql"
        and connection.features.uses_savepoints
        and not connection.get_autocommit()
    )


def _takes_several_statements(cursor: Any) -> bool:  # noqa: ANN401  # of psycopg 3 or 2
    """Return whether the driver sends statements with their values in them, as one text.

    Only cursors that do can show that text. psycopg 3 does not in a pipeline.
    """
    if not hasattr(cursor, "mogrify"):
        return False
    session = getattr(cursor.connection, "pgconn", None)
    return session is None or not session.pipeline_status


def _put_in_savepoint(connection: BaseDatabaseWrapper, statement: str) -> str:
    ops = connection.ops
    begin, end = ops.savepoint_create_sql(_POINT), ops.savepoint_commit_sql(_POINT)
    return f"{begin}; {statement}; {end}"


def _return_at_once(connection: BaseDatabaseWrapper) -> bool:
    """Return to the savepoint and release it; return False when there is none."""
    ops = connection.ops
    back, end = ops.savepoint_rollback_sql(_POINT), ops.savepoint_commit_sql(_POINT)
    try:
        with connection.cursor() as cursor:
            cursor.execute(f"{back}; {end}")
    except Error:
        return False
    return True


def _delete_last(connection: BaseDatabaseWrapper, data: bytes) -> None:
    """Delete the row that this session has written last, if it has this data.

    Where that fails, for example because the role must not delete, the row stays.
    """
    _, values = _get_statement(connection, data)
    table = _quote_names(connection)[0]
    last = f"DELETE FROM {table} WHERE {_IS_LAST}"  # noqa: S608  # our names
    try:
        with connection.cursor() as cursor:
            cursor.execute(_put_in_savepoint(connection, last), [table, values[0]])
    except Error:
        _return_at_once(connection)


def _get_state(connection: BaseDatabaseWrapper) -> int | None:
    """Return the state of a PostgreSQL transaction by the number of libpq; it asks no server."""
    if connection.connection is None:
        return None
    return int(connection.connection.info.transaction_status)


def _give_up(connection: BaseDatabaseWrapper, error: BaseException) -> None:
    """Prevent that a lost transaction seems to commit; raises TransactionLost for its error."""
    if connection.in_atomic_block:
        transaction.set_rollback(True, using=connection.alias)
    if isinstance(error, Error):
        raise TransactionLost(error) from error


def _is_in_transaction(connection: BaseDatabaseWrapper) -> bool:
    by_hand = connection.connection is not None and not connection.autocommit
    return connection.in_atomic_block or by_hand


def _undo(connection: BaseDatabaseWrapper, point: str | None, error: BaseException) -> bool:
    """Return to the savepoint; return whether the transaction is as it was before."""
    if point is None:
        return not isinstance(error, Error) or _is_alive_without_savepoint(connection)
    try:
        connection.savepoint_rollback(point)
        connection.savepoint_commit(point)
    except Exception as second:  # SQLite and MariaDB have none left after they rolled back
        if is_interruption(second):
            raise
        return False
    return _may_commit(error)


def _may_commit(error: BaseException) -> bool:
    """Return whether PostgreSQL still commits the transaction after this error."""
    return get_code(error.__cause__) != _SERIALIZATION_FAILURE


def _is_alive_without_savepoint(connection: BaseDatabaseWrapper) -> bool:
    """Return whether a transaction certainly goes on after a failure without a savepoint.

    There is none when the database refused to make it, or where Django makes none: on SQLite in a
    transaction by hand, and on MySQL's tables that know no transactions, where none can be lost.
    """
    if connection.vendor == "sqlite":
        return bool(connection.connection.in_transaction)
    return connection.vendor == "mysql" and not connection.features.uses_savepoints


def _get_statement(connection: BaseDatabaseWrapper, data: bytes) -> tuple[str, list[Any]]:
    """Return the INSERT and its values, without the model.

    So no signal receiver may change, refuse or track the row.
    """
    table, *columns = _quote_names(connection)
    into = f"INSERT INTO {table} ({', '.join(columns)}) VALUES (%s, %s)"  # noqa: S608  # our names
    return into, [BinaryField().get_db_prep_save(data, connection), ""]


def _quote_names(connection: BaseDatabaseWrapper) -> list[str]:
    from whisperr.django.models import OutboxEvent  # not before the apps are loaded

    names = (OutboxEvent._meta.db_table, "data", "token")  # noqa: SLF001  # documented by Django
    return [connection.ops.quote_name(name) for name in names]
