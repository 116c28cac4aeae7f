"""The connection to Redis: a single one, opened when needed and closed when in doubt.

Only this file uses redis-py (the extra `redis`), and of that only the connection. Its pool has
locks, which a signal handler that raises may leave taken, and retries, for which `track()` must not
wait.

Invariant: while a connection is in use, no attribute holds it. It is put back once its answer has
been read completely. So an interruption, or several, cannot leave a connection with half an answer.

Invariant: no local variable in a frame of a traceback holds a password. Only redis-py reads it,
while it opens a connection, and its frames are removed from tracebacks.
"""

from __future__ import annotations

import re
from hashlib import sha1
from typing import TYPE_CHECKING

from whisperr._foreign import printable
from whisperr._process.identity import get_process
from whisperr._process.interruption import is_interruption
from whisperr._queue.store import StoreFullError
from whisperr.errors import StoreError

from .url import get_credentials

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType
    from typing import Any, Protocol, TypeVar

    from .url import Node, Server

    T = TypeVar("T")

    class Connection(Protocol):
        """What the store needs: a connection to one server, or to the servers of a cluster."""

        def run(self, script: str, keys: Sequence[str], values: Sequence[object]) -> Any:  # noqa: ANN401  # as many shapes as scripts
            """Run a script on the server that has the keys, and return its result."""
            ...

        def ask(self, *words: object) -> Any:  # noqa: ANN401  # as many shapes as commands
            """Send one command, whose second word is its key, and return the answer."""
            ...

        def make_another(self) -> Connection:
            """Return a second connection to the same servers, to be used at the same time."""
            ...

        def close(self) -> None:
            """Close connections that are not in use; the next call opens them again."""
            ...


_LONGEST_ERROR = 300
# Text of redis-py around the system's, as in "Error 111 connecting to 127.0.0.1:6379. Connection
# refused."
_CONNECTING = re.compile(r"Error (?:-?\d+ )?connecting to \S+\. (?=.)")
_OUT_OF_MEMORY = "command not allowed when used memory > 'maxmemory'"


class UnreachableError(StoreError):
    """Raised when a server cannot be reached, so that nothing of the call was sent."""


class RedirectError(StoreError):
    """Raised when a server of a cluster answers that another server has the key.

    - `target`: the slot and the address.
    - `is_once`: whether the redirect is for this call only (ASK), not a lasting one (MOVED).
    - `sender`: the server that redirected; the cluster connection sets it.
    """

    def __init__(self, message: str, target: str, *, is_once: bool) -> None:
        super().__init__(message)
        self.target = target
        self.is_once = is_once
        self.sender: Node | None = None


class RedisConnection:
    """One connection to one Redis server; every call ends within `timeout` or raises StoreError.

    Opening the connection may take another `timeout`, plus the lookup of the host name.
    """

    def __init__(self, server: Server, timeout: float) -> None:
        import redis
        from redis.backoff import NoBackoff
        from redis.exceptions import AskError, MovedError, NoScriptError, RedisError
        from redis.retry import Retry

        class Credentials(redis.CredentialProvider):  # type: ignore[misc]  # redis-py may be absent
            def get_credentials(self) -> tuple[str, ...]:
                return get_credentials(server.url)

        self._server = server
        self._timeout = timeout
        self._class = redis.SSLConnection if server.has_tls else redis.Connection
        self._options: dict[str, Any] = {
            "db": server.database,
            "credential_provider": Credentials() if server.has_password else None,
            "socket_timeout": timeout,
            "socket_connect_timeout": timeout,
            "socket_keepalive": True,
            "retry": Retry(NoBackoff(), 0),
            "protocol": 2,
        }
        if server.has_tls:  # redis-py 5 does not check the host name by default
            self._options |= {"ssl_cert_reqs": "required", "ssl_check_hostname": True}
        self._errors = (RedisError, OSError)
        self._no_script = NoScriptError
        self._redirects = (MovedError, AskError)
        self._ask_error = AskError
        self._connection: Any = None
        self._process: object = None  # the process that opened it
        self._digests: dict[str, str] = {}

    def run(self, script: str, keys: Sequence[str], values: Sequence[object]) -> Any:  # noqa: ANN401  # as many shapes as scripts
        """Run a script; send its text only if the server does not know it yet."""
        return self.use(lambda connection: self.evaluate(connection, script, keys, values))

    def make_another(self) -> RedisConnection:
        """Return a second connection to the same server, to be used at the same time."""
        return RedisConnection(self._server, self._timeout)

    def ask(self, *words: object) -> Any:  # noqa: ANN401  # as many shapes as commands
        """Send one command, and return the answer."""
        return self.use(lambda connection: send(connection, *words))

    def use(self, act: Callable[[Any], Any]) -> Any:  # noqa: ANN401  # likewise
        """Call `act` with a usable connection, and return its result."""
        connection, self._connection = self._connection, None
        if connection is None or not self._is_usable(connection):
            connection = self._open()
        try:
            answer = self._guard(lambda: act(connection))
        except (StoreFullError, RedirectError):  # answers that were read completely
            self._connection = connection
            raise
        except BaseException:  # an interrupted call leaves its answer in the connection
            connection.disconnect()
            raise
        self._connection = connection
        return answer

    def close(self) -> None:
        """Close the connection; the next call opens another one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.disconnect()

    def evaluate(
        self,
        connection: Any,  # noqa: ANN401  # of redis-py
        script: str,
        keys: Sequence[str],
        values: Sequence[object],
        before: str = "",
    ) -> Any:  # noqa: ANN401  # as many shapes as scripts
        """Run a script; `before`: a command to send before each attempt."""
        digest = self._digests.get(script)
        if digest is None:
            digest = sha1(script.encode(), usedforsecurity=False).hexdigest()
            self._digests[script] = digest
        try:
            if before:
                send(connection, before)
            return send(connection, "EVALSHA", digest, len(keys), *keys, *values)
        except self._no_script:
            if before:
                send(connection, before)
            return send(connection, "EVAL", script, len(keys), *keys, *values)

    def _is_usable(self, connection: Any) -> bool:  # noqa: ANN401  # of redis-py
        """Return whether an idle connection is still open, and belongs to this process."""
        if self._process != get_process():
            return False  # C code forked without our hooks: the parent uses it
        try:
            if not connection.can_read():
                return True
        except self._errors:
            pass
        connection.disconnect()  # the server closed it, or sent bytes that no call asked for
        return False

    def _open(self) -> Any:  # noqa: ANN401  # of redis-py
        """Return an open connection; raise StoreError before any command was sent."""
        return self._connect(self._server.nodes[0])

    def _connect(self, node: Node, **options: object) -> Any:  # noqa: ANN401  # of redis-py
        host, port = node
        all_options = {**self._options, "host": host, "port": port, **options}
        connection = self._guard(lambda: self._class(**all_options))
        try:
            self._guard(connection.connect, "cannot connect to {}")
        except StoreError as error:
            problem = str(error)
        else:
            self._process = get_process()
            return connection
        raise UnreachableError(problem)

    def _guard(self, act: Callable[[], T], problem: str = "{} failed") -> T:
        """Return `act()`; raise interruptions unchanged, and StoreError for any other error.

        `problem`: what an error means, for people, with `{}` for the address.
        """
        failure: BaseException
        try:
            return act()
        except BaseException as error:  # noqa: BLE001  # raised below, without frames of redis-py
            failure = _get_interruption(error) or self._to_store_error(error, problem)
            _remove_frames(failure)
        try:
            raise failure
        finally:
            del failure  # its traceback has this frame

    def _to_store_error(self, error: BaseException, problem: str) -> StoreError:
        text = printable(_get_detail(error), _LONGEST_ERROR)
        name = self._server.address
        if isinstance(error, self._redirects):
            return RedirectError(
                f"{name} redirected to {text}", text, is_once=isinstance(error, self._ask_error)
            )
        if _OUT_OF_MEMORY in text:
            return StoreFullError(f"{name}: the server is full (maxmemory) and accepts no events")
        return StoreError(f"{problem.format(name)} ({text})")


def _get_detail(error: BaseException) -> str:
    """Return the text of an error of redis-py, without the address and the final full stop."""
    text = str(error)
    found = _CONNECTING.match(text)
    if found:
        text = text[found.end()].lower() + text[found.end() + 1 :]
    return text.removesuffix(".") or type(error).__name__


def send(connection: Any, *words: object) -> Any:  # noqa: ANN401  # of redis-py; as many shapes as commands
    """Send one command, and return the answer."""
    connection.send_packed_command(pack(*words))
    return connection.read_response()


def pack(*words: object) -> list[bytes]:
    """Return a command in the wire format, in one piece.

    For a command of hundreds of words, redis-py takes several times as long.
    """
    encoded = [word if type(word) is bytes else str(word).encode() for word in words]
    parts = [b"$%d\r\n%b\r\n" % (len(word), word) for word in encoded]
    return [b"*%d\r\n%b" % (len(parts), b"".join(parts))]


def _get_interruption(error: BaseException) -> BaseException | None:
    """Return the interruption that an error is, or that redis-py wrapped as a socket error.

    A signal handler may raise TimeoutError, which is an OSError. `__context__` also has exceptions
    from before our call, but those did not pass through redis-py.
    """
    one: BaseException | None = error
    while one is not None:
        if is_interruption(one) and (one is error or _passed_redis(one)):
            return one
        one = one.__context__
    return None


def _passed_redis(error: BaseException) -> bool:
    entry = error.__traceback__
    while entry is not None:
        if _is_of_redis(entry):
            return True
        entry = entry.tb_next
    return False


def _is_of_redis(entry: TracebackType) -> bool:
    return str(entry.tb_frame.f_globals.get("__name__")).split(".")[0] == "redis"


def _remove_frames(error: BaseException) -> None:
    """Remove the frames that may hold a password from the tracebacks of an error and its causes.

    Frames of a signal handler stay: the error is about them.
    """
    todo: list[BaseException | None] = [error]
    done: set[int] = set()
    while todo:
        one = todo.pop()
        if one is None or id(one) in done:
            continue
        done.add(id(one))
        one.__traceback__ = _without_password(one.__traceback__)
        todo += [one.__cause__, one.__context__]


def _without_password(entry: TracebackType | None) -> TracebackType | None:
    kept: list[TracebackType] = []
    while entry is not None:
        module = entry.tb_frame.f_globals.get("__name__")
        private = module == "urllib.parse" or entry.tb_frame.f_code is get_credentials.__code__
        if not private and not _is_of_redis(entry):
            kept.append(entry)
        entry = entry.tb_next
    following: TracebackType | None = None
    for one in reversed(kept):
        one.tb_next, following = following, one
    return following
