"""Opens the database of a command: checks its URL and looks for the tables.

No message shows the URL's user or password.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import create_engine, inspect
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from whisperr._foreign import printable
from whisperr._queue.table.store import get_first_line

from ._claims import Claims

if TYPE_CHECKING:
    from sqlalchemy import URL

    from whisperr._secret import Secret

# The drivers of each database that do not need asyncio: name, module, package to install.
_DRIVERS = {
    "postgresql": (
        ("psycopg", "psycopg", "'psycopg[binary]'"),
        ("psycopg2", "psycopg2", "psycopg2-binary"),
        ("pg8000", "pg8000", "pg8000"),
    ),
    "mysql": (
        ("mysqldb", "MySQLdb", "mysqlclient"),
        ("pymysql", "pymysql", "pymysql"),
        ("mysqlconnector", "mysql.connector", "mysql-connector-python"),
    ),
    "sqlite": (("pysqlite", "sqlite3", "a Python with sqlite3"),),
}
_DRIVERS["mariadb"] = _DRIVERS["mysql"]
_NAMES = {"postgres": "postgresql"}  # some hosts write the URL like this
_ASYNC = frozenset({"asyncpg", "psycopg_async", "aiosqlite", "aiomysql", "asyncmy"})
# Options of asyncpg, and their names in other drivers; None if those have no such option.
_OPTIONS = {"ssl": "sslmode", "prepared_statement_cache_size": None}
_SHAPE = "write it as postgresql://user:password@host/name or sqlite:////path/to/file.db"
_LONGEST_NAME = 100


class Source(NamedTuple):
    """The tables of a database, and a name for it that people can read."""

    claims: Claims
    name: str


def open_database(given: Secret, schema: str | None = None) -> Source:
    """Return the tables of the database with this URL.

    Raises ValueError for a wrong URL, and LookupError if the tables are missing or the database
    cannot be used. Both say what to do.
    """
    url = _parse(given)
    if isinstance(url, str):
        raise ValueError(url)  # noqa: TRY004  # the text says what is wrong with the URL
    if url.get_backend_name() == "sqlite" and not Path(url.database or "").is_file():
        raise LookupError(f"there is no file {printable(str(url.database), _LONGEST_NAME)!r}")
    problem: str | None
    try:
        engine = create_engine(url, poolclass=NullPool, hide_parameters=True)
        claims = Claims(engine, schema)
        problem = _find_problem(claims, _describe(url), schema)
    except SQLAlchemyError as error:
        problem = f"{_describe(url)} cannot be used: {get_first_line(error)}"
    except TypeError:  # the driver does not take an option of the URL
        problem = f"{_describe(url)} cannot be used: its driver refuses an option of the URL"
    if problem is not None:
        raise LookupError(problem)
    return Source(claims, _describe(url))


def _parse(given: Secret) -> URL | str:
    """Return the URL with an installed driver, or what is wrong with it."""
    try:
        url = make_url(given.reveal())
        backend, _, driver = url.drivername.partition("+")
        backend = _NAMES.get(backend, backend)
        url = url.set(drivername=f"{backend}+{driver}" if driver else backend)
    except (SQLAlchemyError, ValueError):  # their text may show the URL
        return f"is not the URL of a database; {_SHAPE}"
    if backend not in _DRIVERS:
        known = ", ".join(_DRIVERS)
        return f"names {printable(backend, _LONGEST_NAME)!r}: must be one of {known}; {_SHAPE}"
    if backend == "sqlite" and url.database in {None, "", ":memory:"}:
        return "names a database in memory, which no other process can see; name a file"
    if driver and driver not in _ASYNC:
        return url
    return _choose_driver(url, backend, driver)


def _choose_driver(url: URL, backend: str, driver: str) -> URL | str:
    for name, module, _ in _DRIVERS[backend]:
        if _is_installed(module):
            if driver == "asyncpg":
                url = url.set(query=_translate(url))
            return url.set(drivername=f"{backend}+{name}")
    packages = " or ".join(package for _, _, package in _DRIVERS[backend])
    because = f" ({driver} is for asyncio only)" if driver else ""
    return f"needs a driver for {backend}{because}: pip install {packages}"


def _translate(url: URL) -> dict[str, str | tuple[str, ...]]:
    named = {_OPTIONS.get(name, name): value for name, value in url.query.items()}
    return {name: value for name, value in named.items() if name is not None}


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # of its package
        return False


def _describe(url: URL) -> str:
    """Return where the database is, without user and password."""
    host = "" if url.host is None else f" at {printable(url.host, _LONGEST_NAME)}"
    name = printable(str(url.database or ""), _LONGEST_NAME)
    return f"the {url.get_backend_name()} database {name!r}{host}"


def _find_problem(claims: Claims, name: str, schema: str | None) -> str | None:
    """Return what is wrong with the tables, None if nothing is."""
    with claims.begin() as connection:
        inspector = inspect(connection)
        missing = [
            table.name
            for table in claims.tables
            if not inspector.has_table(table.name, schema=table.schema)
        ]
    if not missing:
        return None
    where = "" if schema is None else f" in the schema {printable(schema, _LONGEST_NAME)!r}"
    return (
        f"{name} has no table {' and no table '.join(missing)}{where}: run the migration of your "
        "application that makes them (whisperr_table; with Django manage.py migrate)"
        + ("; or name their schema with --schema" if schema is None else "")
    )
