"""Writes one row, in the caller's transaction if there is one, and undoes a failure.

Invariant: after a failure the caller's transaction is as it was before, or it cannot be committed
any more and the caller gets the database's error (TransactionLost).

After a failure PostgreSQL refuses everything until a rollback, so in a transaction the row has its
own savepoint. If the driver can, its three statements are sent at once: one round trip, not three.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from django.db import Error, transaction

from whisperr._process.interruption import is_interruption

if TYPE_CHECKING:
    from typing import Any

    from django.db.backends.base.base import BaseDatabaseWrapper
    from django.db.backends.base.operations import BaseDatabaseOperations
    from django.db.backends.utils import CursorWrapper

# After this error a savepoint does not help, although it seems to.
_SERIALIZATION_FAILURE = "40001"
# The savepoint of a row that is sent at once. If an interrupted call leaves one behind, it is
# harmless: the transaction has failed, and only a rollback to it or to an earlier savepoint helps.
_POINT = "whisperr_event"
# libpq's numbers for the state of a transaction: none is open, or the driver has not begun it yet;
# one is open; one of its statements has failed.
_IDLE, _IN_TRANSACTION, _IN_ERROR = 0, 2, 3
# The status that a driver reports when the server has run all statements that were sent at once:
# psycopg 3 names the first statement, psycopg2 the last.
_DONE = frozenset({"SAVEPOINT", "RELEASE"})
_IS_LAST = "id = currval(pg_get_serial_sequence(%s, 'id')) AND data = %s"


class TransactionLost(Exception):  # noqa: N818  # it is a state
    """The database has ended the transaction of the caller, with this error."""

    def __init__(self, error: Error) -> None:
        super().__init__()
        self.error = error


def insert(connection: BaseDatabaseWrapper, data: bytes) -> None:
    """Write one row; outside of a transaction retry once if the connection was dead.

    Django replaces a dead connection at the next request, which a worker's thread may never have.
    """
    try:
        _insert_in_savepoint(connection, data)
    except Error:
        if _is_in_transaction(connection):
            raise
        connection.close_if_unusable_or_obsolete()
        if connection.connection is not None:
            raise
        _execute_insert(connection, data)


def get_code(cause: BaseException | None) -> str | int | None:
    """Return the code of an error of psycopg 3 or 2, or of MySQL's drivers."""
    state = getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None)
    first = cause.args[0] if cause is not None and cause.args else None
    return state if isinstance(state, str) else first if isinstance(first, int) else None


def _insert_in_savepoint(connection: BaseDatabaseWrapper, data: bytes) -> None:
    """Write one row in the caller's transaction, which a failure leaves as it was.

    This also works in a manual transaction, where Django's `atomic` could keep a dead connection in
    use. Outside of a transaction Django makes no savepoint. Raises TransactionLost if the
    transaction could not be kept.
    """
    row = _Insertion(connection, data)
    try:
        row.write()
    except BaseException as error:
        if _is_in_transaction(connection) and not row.undo(error):
            _give_up(connection, error)
        raise
    if row.point is not None:
        try:  # not above, because a released savepoint cannot be rolled back to
            connection.savepoint_commit(row.point)
        except Error as error:
            _give_up(connection, error)
            raise


class _Insertion:
    """One row that is being written.

    - `point`: the savepoint to release after the row is written; None if there is none.
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
        """Write the row, in one round trip with its savepoint if possible."""
        connection = self._connection
        if _may_send_at_once(connection):
            with connection.cursor() as cursor:
                if _takes_several_statements(cursor.cursor):
                    self._write_at_once(cursor)
                    return
        self.point = connection.savepoint()
        _execute_insert(connection, self._data)

    def _write_at_once(self, cursor: CursorWrapper) -> None:
        self._before, self._at_once = _get_state(self._connection), True
        try:
            cursor.execute(
                _get_texts(self._connection).insert_at_once,
                [_to_value(self._connection, self._data), ""],
            )
        finally:
            self._is_written = cursor.statusmessage in _DONE

    def undo(self, error: BaseException) -> bool:
        """Undo the row; return whether the transaction is as it was before."""
        connection = self._connection
        if not self._at_once:
            return _undo(connection, self.point, error)
        state = _get_state(connection)
        if state == _IN_ERROR:
            return _return_at_once(connection) and _may_commit(error)
        if self._is_written:  # something raised after that, such as a signal handler
            _delete_last(connection, self._data)
            state = _get_state(connection)
        return state == _IN_TRANSACTION or state == self._before == _IDLE


def _execute_insert(connection: BaseDatabaseWrapper, data: bytes) -> None:
    with connection.cursor() as cursor:
        cursor.execute(_get_texts(connection).insert, [_to_value(connection, data), ""])


def _may_send_at_once(connection: BaseDatabaseWrapper) -> bool:
    """Return whether the row needs a savepoint, and PostgreSQL may get several statements."""
    return (
        connection.vendor == "postgresql"
        and connection.features.uses_savepoints
        and (connection.in_atomic_block or not connection.get_autocommit())
    )


def _takes_several_statements(cursor: Any) -> bool:  # noqa: ANN401  # of psycopg 3 or 2
    """Return whether the driver sends statements and their values as one text.

    Only such cursors have `mogrify`. psycopg 3 does not do it in a pipeline.
    """
    if not hasattr(cursor, "mogrify"):
        return False
    session = getattr(cursor.connection, "pgconn", None)
    return session is None or not session.pipeline_status


def _return_at_once(connection: BaseDatabaseWrapper) -> bool:
    """Roll back to the savepoint and release it; return whether the transaction continues."""
    with suppress(Error), connection.cursor() as cursor:  # there is no such savepoint
        cursor.execute(_get_texts(connection).return_at_once)
    return _get_state(connection) == _IN_TRANSACTION


def _delete_last(connection: BaseDatabaseWrapper, data: bytes) -> None:
    """Delete the row that this session wrote last, if it has this data.

    If that fails, for example because the role may not delete, the row stays.
    """
    texts = _get_texts(connection)
    try:
        with connection.cursor() as cursor:
            cursor.execute(texts.delete_last, [texts.table, _to_value(connection, data)])
    except Error:
        if _get_state(connection) == _IN_ERROR:
            _return_at_once(connection)


def _get_state(connection: BaseDatabaseWrapper) -> int | None:
    """Return libpq's number for the state of the transaction, without asking the server."""
    driver = connection.connection
    if driver is None:
        return None
    session = getattr(driver, "pgconn", None)  # of psycopg 3
    return int(driver.get_transaction_status() if session is None else session.transaction_status)


def _give_up(connection: BaseDatabaseWrapper, error: BaseException) -> None:
    """Make sure that a lost transaction cannot seem to commit; raise TransactionLost."""
    if connection.in_atomic_block:
        transaction.set_rollback(True, using=connection.alias)
    if isinstance(error, Error):
        raise TransactionLost(error) from error


def _is_in_transaction(connection: BaseDatabaseWrapper) -> bool:
    by_hand = connection.connection is not None and not connection.autocommit
    return connection.in_atomic_block or by_hand


def _undo(connection: BaseDatabaseWrapper, point: str | None, error: BaseException) -> bool:
    """Roll back to the savepoint; return whether the transaction is as it was before."""
    if point is None:
        return not isinstance(error, Error) or _is_alive_without_savepoint(connection)
    try:
        connection.savepoint_rollback(point)
        connection.savepoint_commit(point)
    except Exception as second:  # SQLite and MariaDB have rolled back and have no savepoint left
        if is_interruption(second):
            raise
        return False
    return _may_commit(error)


def _may_commit(error: BaseException) -> bool:
    """Return whether PostgreSQL can still commit the transaction after this error."""
    return get_code(error.__cause__) != _SERIALIZATION_FAILURE


def _is_alive_without_savepoint(connection: BaseDatabaseWrapper) -> bool:
    """Return whether a transaction certainly continues after a failure without a savepoint.

    There is no savepoint if the database refused to make it, or if Django makes none: on SQLite in
    a manual transaction, and for MySQL tables without transactions, where nothing can be lost.
    """
    if connection.vendor == "sqlite":
        return bool(connection.connection.in_transaction)
    return connection.vendor == "mysql" and not connection.features.uses_savepoints


class _Texts(NamedTuple):
    """The statements for one kind of database, and the name of their table."""

    table: str
    insert: str
    insert_at_once: str
    delete_last: str
    return_at_once: str


# By the class of `connection.ops`, which decides how names are quoted.
_texts: dict[type[object], _Texts] = {}


def _get_texts(connection: BaseDatabaseWrapper) -> _Texts:
    known = _texts.get(type(connection.ops))
    if known is None:
        known = _texts[type(connection.ops)] = _make_texts(connection.ops)
    return known


def _make_texts(ops: BaseDatabaseOperations) -> _Texts:
    """Return statements that bypass the model, so that no signal receiver changes the row."""
    from whisperr.django.models import OutboxEvent  # models need loaded apps

    names = (OutboxEvent._meta.db_table, "data", "token")  # noqa: SLF001  # documented by Django
    table, *columns = map(ops.quote_name, names)
    into = f"INSERT INTO {table} ({', '.join(columns)}) VALUES (%s, %s)"  # noqa: S608  # our names
    last = f"DELETE FROM {table} WHERE {_IS_LAST}"  # noqa: S608  # likewise
    begin, end = ops.savepoint_create_sql(_POINT), ops.savepoint_commit_sql(_POINT)
    return _Texts(
        table,
        into,
        f"{begin}; {into}; {end}",
        f"{begin}; {last}; {end}",
        f"{ops.savepoint_rollback_sql(_POINT)}; {end}",
    )


def _to_value(connection: BaseDatabaseWrapper, data: bytes) -> Any:  # noqa: ANN401  # of the driver
    from whisperr.django.models import OutboxEvent  # models need loaded apps

    field: Any = OutboxEvent._meta.get_field("data")  # noqa: SLF001  # documented by Django
    return field.get_db_prep_save(data, connection)
