"""Durable buffers, where events wait and survive the process: the option `buffer`.

The option takes one of these objects, or the URL that stands for it::

    Whisperr(buffer="sqlite:////var/lib/app/events.db")
    Whisperr(buffer=SQLiteBuffer("/var/lib/app/events.db"))
    Whisperr(buffer="redis://localhost:6379/0?stream=whisperr")

Each process that uses a client opens the queue for itself. The guide to durable delivery in the
documentation helps to choose one, and says what each promises.

.. versionadded:: 1.0
"""

from __future__ import annotations

import re
from hashlib import sha1
from os import fspath
from os.path import realpath
from pathlib import Path
from urllib.parse import parse_qsl, unquote

from ._conversion import ALLOWED_WORDS, to_flag
from ._frozen import Frozen
from ._options import OUTBOX, OUTBOX_HINT
from ._queue.redis.keys import get_problem
from ._queue.redis.url import SCHEMES, parse_server, refuse_scheme
from ._queue.store import LEASE, LONGEST_LEASE, SHORTEST_LEASE
from ._secret import Secret

TYPE_CHECKING = False
if TYPE_CHECKING:
    from os import PathLike
    from typing import Any, Literal

    from ._queue.log.left import LeftLogs
    from ._queue.log.log import Log
    from ._queue.redis.url import Server
    from .protocols import Accounting, BufferConfig, SharedQueue

__all__ = ["RedisBuffer", "SQLiteBuffer", "parse_buffer_url"]

_FILE_HINT = "such as sqlite:////var/lib/app/events.db (absolute) or sqlite:///events.db (relative)"
_REDIS_HINT = "such as redis://localhost:6379/0?stream=whisperr"
_REDIS_FORM = (
    f"url: must be redis://[user:password@]host[:port][/database], {_REDIS_HINT}, or "
    "redis+sentinel://host[:port][,...]/service, or redis+cluster://host[:port][,...]; a password "
    "with / ? # @ : or % in it is percent-encoded (? is %3F)"
)
_STREAM = re.compile(r"[A-Za-z0-9_.:{}-]{1,100}")
_MOST_SHARDS = 64
_LONGEST_TIMEOUT = 10.0  # seconds; `track()` may wait for so long


class SQLiteBuffer(Frozen):
    """An SQLite file that the processes of one machine share. Its events survive all of them.

    Each process has a log in the directory `<path>-log`: `track()` appends to the log, and
    delivery moves the events into the file. They are as safe in the log as in the file.

    Args:
        path: The file. Its directory must exist; file and log are made for their owner only. Do
            not use a network file system, where the locks do not work.
        synchronous: With `"NORMAL"` events survive the end of any process; with `"FULL"` also a
            power failure, at the cost of a write to the disk in every `track()`.
        lease: Seconds after which another process takes over from one that died while it
            delivered, from 1 to 3600. Longer requests and waits extend it.
        dead_letters: Keep the events that the server refuses, with the reason. The command
            `whisperr dead-letters` shows, replays and drops them.

    Attributes:
        path: The absolute path of the file.
        synchronous: The argument of this name.
        lease: The argument of this name, in seconds.
        dead_letters: The argument of this name.

    Raises:
        ValueError: A value is wrong; the text names it and says what is allowed.
    """

    __slots__ = ("dead_letters", "lease", "path", "synchronous")

    path: str
    synchronous: Literal["NORMAL", "FULL"]
    lease: float
    dead_letters: bool

    def __init__(
        self,
        path: str | PathLike[str],
        *,
        synchronous: Literal["NORMAL", "FULL"] = "NORMAL",
        lease: float = LEASE,
        dead_letters: bool = False,
    ) -> None:
        if synchronous not in ("NORMAL", "FULL"):
            raise ValueError(f"synchronous={synchronous!r}: must be NORMAL or FULL")
        if not fspath(path) or "\0" in fspath(path):
            raise ValueError("path: must be the path of a file")
        if fspath(path) == ":memory:":
            raise ValueError(
                "path: ':memory:' is no file; omit buffer to hold events in memory, or write "
                "'./:memory:' for a file of that name"
            )
        # Absolute from now on: the process may change its directory.
        self._set(path=str(Path(path).absolute()), synchronous=synchronous)
        self._set(lease=_check_seconds("lease", lease, SHORTEST_LEASE, LONGEST_LEASE))
        self._set(dead_letters=_check_flag("dead_letters", dead_letters))

    def open(self, max_events: int, max_bytes: int, accounting: Accounting) -> SharedQueue:
        """Return the queue of this process. The client calls it once in each process.

        Args:
            max_events: The client's `max_queue_size`.
            max_bytes: The client's `max_queue_bytes`.
            accounting: Counts and reports what becomes of the events.
        """
        from ._queue.durable import LeasedQueue
        from ._queue.log.adoption import Adoption
        from ._queue.sqlite.store import SQLiteStore

        fsync = self.synchronous == "FULL"
        log, logs = _open_log(self.log, self.log_owner, max_events, max_bytes, fsync=fsync)
        store = SQLiteStore(
            self.path,
            self.synchronous,
            self.lease,
            max_events,
            max_bytes,
            source=log.source,
            dead_letters=self.dead_letters,
        )
        adoption = Adoption(logs, store)
        return LeasedQueue(store, max_events, max_bytes, accounting, log=log, adoption=adoption)

    @property
    def log(self) -> str:
        """The directory of the logs of all processes."""
        return f"{realpath(self.path)}-log"

    @property
    def log_owner(self) -> str:
        """The prefix of the names of this buffer's files in the directory `log`."""
        return "events"


class RedisBuffer(Frozen):
    """Redis Streams that the processes of a fleet share. Needs `pip install 'whisperr[redis]'`.

    A thread of its own stores the events in groups, so that `track()` never waits for Redis.

    Args:
        url: `redis://[user:password@]host[:port][/database]`, or `rediss://` for TLS. With
            sentinels: `redis+sentinel://[user:password@]host[:port][,...]/service[/database]`. In
            a cluster: `redis+cluster://[user:password@]host[:port][,...]`. The hosts are the first
            ones to ask.
        stream: The name of the stream. Other keys are named after it, such as `{whisperr}:state`.
        shards: The number of streams, from 1 to 64, the same in all processes. Events are spread
            over them by their user: as many processes can deliver at a time, and each user's order
            is kept.
        timeout: Seconds that a call of Redis may take, from 0.01 to 10.
        lease: Seconds after which another process takes over from one that died while it
            delivered, from 1 to 3600. Longer requests and waits extend it.
        log: A directory of this machine, which is made if it is missing. `track()` appends to a
            log in it before the event is stored, so that `kill -9` loses nothing. Without a log,
            the events of the last 5 milliseconds may be lost with the process.
        dead_letters: Keep the events that the server refuses, as in `SQLiteBuffer`.

    Attributes:
        stream: The argument of this name.
        shards: The argument of this name.
        timeout: The argument of this name, in seconds.
        lease: The argument of this name, in seconds.
        dead_letters: The argument of this name.
        log: The absolute path of the directory; None without a log.

    Raises:
        ValueError: A value is wrong; the text names it and says what is allowed.
        ImportError: redis-py is not installed.
    """

    __slots__ = ("_server", "dead_letters", "lease", "log", "shards", "stream", "timeout")

    _server: Server
    stream: str
    shards: int
    timeout: float
    lease: float
    dead_letters: bool
    log: str | None

    def __init__(
        self,
        url: str,
        *,
        stream: str = "whisperr",
        shards: int = 1,
        timeout: float = 0.25,
        lease: float = LEASE,
        log: str | PathLike[str] | None = None,
        dead_letters: bool = False,
    ) -> None:
        server = parse_server(Secret(url)) if isinstance(url, str) else None
        del url  # no variable of a frame that may raise holds a password
        if server is None:
            raise ValueError(_REDIS_FORM)
        if not isinstance(stream, str) or not _STREAM.fullmatch(stream):
            raise ValueError(f"stream={stream!r}: must be letters, digits and _ . : {{ }} -")
        if problem := get_problem(stream):
            raise ValueError(f"stream={stream!r}: {problem}")
        if shards not in range(1, _MOST_SHARDS + 1):
            raise ValueError(f"shards={shards!r}: must be a whole number from 1 to {_MOST_SHARDS}")
        self._set(_server=server, stream=stream, shards=int(shards))
        self._set(dead_letters=_check_flag("dead_letters", dead_letters))
        if log is not None and (not fspath(log) or "\0" in fspath(log)):
            raise ValueError("log: must be the path of a directory")
        # Absolute from now on: the process may change its directory.
        self._set(log=None if log is None else str(Path(log).absolute()))
        self._set(lease=_check_seconds("lease", lease, SHORTEST_LEASE, LONGEST_LEASE))
        self._set(timeout=_check_seconds("timeout", timeout, 0.01, _LONGEST_TIMEOUT))
        try:
            import redis  # noqa: F401  # to fail now and not with the first event
        except ImportError:
            raise ImportError(
                "buffer: Redis needs redis-py; pip install 'whisperr[redis]'"
            ) from None

    def __repr__(self) -> str:
        if not hasattr(self, "timeout"):  # crash reporters show it while it is refused
            return object.__repr__(self)
        return f"RedisBuffer({self.address!r}, stream={self.stream!r}, shards={self.shards})"

    def __reduce__(self) -> tuple[Any, ...]:
        if self._server.has_password:
            raise TypeError(
                "a RedisBuffer with a password cannot be pickled: the pickle would show it"
            )
        return super().__reduce__()

    def __copy__(self) -> RedisBuffer:
        return self

    def __deepcopy__(self, _: object) -> RedisBuffer:
        return self

    @property
    def url(self) -> str:
        """The URL as given, with its password. Do not log it."""
        return self._server.url.reveal()

    @property
    def address(self) -> str:
        """The URL without user and password."""
        return self._server.address

    @property
    def streams(self) -> list[str]:
        """The names of the streams, one for each shard."""
        if self.shards == 1:
            return [self.stream]
        return [f"{self.stream}:{number}" for number in range(self.shards)]

    @property
    def log_owner(self) -> str:
        """The prefix of this buffer's files in the directory `log`, which streams may share."""
        name = f"{self.address} {self.stream}".encode()
        return sha1(name, usedforsecurity=False).hexdigest()[:16]

    def open(self, max_events: int, max_bytes: int, accounting: Accounting) -> SharedQueue:
        """Return the queue of this process. The client calls it once in each process.

        Args:
            max_events: The client's `max_queue_size`.
            max_bytes: The client's `max_queue_bytes`.
            accounting: Counts and reports what becomes of the events.
        """
        from ._queue.durable import LeasedQueue
        from ._queue.log.adoption import Adoption
        from ._queue.redis.servers import connect
        from ._queue.redis.store import RedisStore
        from ._queue.storer import get_storer

        log, logs = None, None
        if self.log is not None:
            log, logs = _open_log(self.log, self.log_owner, max_events, max_bytes)
        store = RedisStore(
            connect(self._server, self.timeout),
            self.streams,
            self.lease,
            max_events,
            max_bytes,
            dead_letters=self.dead_letters,
            source=None if log is None else log.source,
        )
        adoption = None if logs is None else Adoption(logs, store)
        return LeasedQueue(
            store,
            max_events,
            max_bytes,
            accounting,
            log=log,
            adoption=adoption,
            storer=get_storer(),
            concurrent=True,
        )

    def _fields(self) -> dict[str, Any]:
        options = {name: getattr(self, name) for name in self.__slots__ if name != "_server"}
        return {"url": self.url, **options}


def parse_buffer_url(url: str | Secret) -> BufferConfig:
    """Return the buffer that a URL stands for, as the option `buffer` does.

    Args:
        url: Such as `"sqlite:////var/lib/app/events.db?synchronous=FULL"`. Its query has the
            options of the buffer.

    Raises:
        ValueError: The URL or an option is wrong; the text says how to write it.
        ImportError: A `redis` URL, and redis-py is not installed.
    """
    given = url if isinstance(url, Secret) else Secret(url)
    del url  # no variable of a frame that may raise holds a password
    if given.reveal() == OUTBOX:
        raise ValueError(OUTBOX_HINT)
    if _has_scheme(given, "sqlite"):
        return _parse_sqlite(given.reveal())
    if any(_has_scheme(given, scheme) for scheme in SCHEMES):
        if "@" in given.reveal().partition("?")[2]:  # a piece of the password, not of the query
            raise ValueError(_REDIS_FORM)
        known = {"dead_letters", "lease", "log", "shards", "stream", "timeout"}
        options = _parse_options(given.reveal().partition("?")[2], known)
        return RedisBuffer(given.reveal().partition("?")[0], **options)
    if _has_scheme_of_database(given):
        raise ValueError(
            "buffer: the URL of a database is not supported; to store events in transactions of "
            f"your own database, use whisperr.sqlalchemy.Outbox or, in Django, WHISPERR_BUFFER = "
            f"{OUTBOX!r}"
        )
    raise ValueError(f"buffer: {refuse_scheme(given)}{_FILE_HINT}, or {_REDIS_HINT}")


def _has_scheme(url: Secret, scheme: str) -> bool:
    """Return whether a URL has a scheme, in any case. It stays in no variable; see `_secret`."""
    return url.reveal().lower().startswith(f"{scheme}://")


def _has_scheme_of_database(url: Secret) -> bool:
    scheme = url.reveal().lower().partition("://")[0].partition("+")[0]
    return scheme in {"postgres", "postgresql", "mysql", "mariadb", "oracle", "mssql"}


def _parse_sqlite(url: str) -> SQLiteBuffer:
    server, _, query = url.partition("?")
    path = server[len("sqlite://") :]
    if not path.startswith("/") or path == "/":
        raise ValueError(f"buffer: write three slashes before the path, {_FILE_HINT}")
    options = _parse_options(query, {"dead_letters", "lease", "synchronous"})
    return SQLiteBuffer(unquote(path[1:]), **options)


def _parse_options(query: str, known: set[str]) -> dict[str, Any]:
    """Return the options of a URL, numbers as floats. Raises ValueError for unknown ones."""
    options: dict[str, Any] = {}
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
    except ValueError:
        raise ValueError(f"buffer: {query!r} is not name=value, joined by &") from None
    for name, value in pairs:
        if name not in known:
            allowed = ", ".join(sorted(known))
            raise ValueError(f"buffer: unknown option {name!r}; allowed: {allowed}")
        options[name] = float(value) if re.fullmatch(r"[0-9]+(\.[0-9]+)?", value) else value
    return options


def _check_flag(name: str, value: object) -> bool:
    flag = to_flag(value)
    if flag not in (True, False):
        raise ValueError(f"{name}={value!r}: must be {ALLOWED_WORDS}")
    return flag is True


def _open_log(
    directory: str, owner: str, max_events: int, max_bytes: int, *, fsync: bool = False
) -> tuple[Log, LeftLogs]:
    """Return the log of this process, and where those of others are found that have ended."""
    from ._queue.log.left import LeftLogs
    from ._queue.log.log import Log

    return Log(directory, owner, max_events, max_bytes, fsync=fsync), LeftLogs(directory, owner)


def _check_seconds(name: str, value: float, least: float, most: float) -> float:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number or not least <= value <= most:
        raise ValueError(f"{name}={value!r}: must be from {least:g} to {most:g} seconds")
    return float(value)
