"""The connection to Redis: one, opened when needed, closed after any doubt.

The only file that uses redis-py (the extra `redis`). Of that it uses the connection alone: a pool
has locks, which an exception of a signal handler may leave taken, and retries, for which a call of
`track()` must not wait.

Invariant: a connection that is in use is in no attribute. It is put back after its answer has been
read completely, so an interruption at any moment, or two of them, leaves none behind that has half
an answer in it.

Invariant: variables of frames that an exception passes hold no password. Only redis-py needs it,
while it opens a connection, and its frames are removed from tracebacks.
"""

from __future__ import annotations

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
        """What the store needs: to one server, or to those of a cluster."""

        def run(self, script: str, keys: Sequence[str], values: Sequence[object]) -> Any:  # noqa: ANN401  # as many shapes as scripts
            """Run a script where the keys are, and return its result."""
            ...

        def ask(self, *words: object) -> Any:  # noqa: ANN401  # as many shapes as commands
            """Send one command, whose key is its second word, and return the answer."""
            ...

        def make_another(self) -> Connection:
            """Return one to the same servers that can be used at the same time."""
            ...

        def close(self) -> None:
            """Close what is not in use; the next call opens it again."""
            ...


_LONGEST_ERROR = 300
_OUT_OF_MEMORY = "command not allowed when used memory > 'maxmemory'"


class UnreachableError(StoreError):
    """Raised when a server cannot be reached: nothing of the call was sent to it."""


class RedirectError(StoreError):
    """Raised when a server of a cluster answers that another one has the key.

    `target`: the slot and the address. `is_once`: the other one has it for this call only, as far
    as the server knows. `sender`: the server, where the caller has not chosen it.
    """

    def __init__(self, message: str, target: str, *, is_once: bool) -> None:
        super().__init__(message)
        self.target = target
        self.is_once = is_once
        self.sender: Node | None = None


class RedisConnection:
    """One connection to one Redis server; every call ends within `timeout` or raises StoreError.

    Opening the connection takes as long again at most, apart from looking up the host name.
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
        if server.has_tls:  # redis-py 5 does not check the name by itself
            self._options |= {"ssl_cert_reqs": "required", "ssl_check_hostname": True}
        self._errors = (RedisError, OSError)
        self._no_script = NoScriptError
        self._redirects = (MovedError, AskError)
        self._ask_error = AskError
        self._connection: Any = None
        self._process: object = None  # which opened it
        self._digests: dict[str, str] = {}

    def run(self, script: str, keys: Sequence[str], values: Sequence[object]) -> Any:  # noqa: ANN401  # as many shapes as scripts
        """Run a script on the server; its text is sent only if the server does not know it."""
        return self.use(lambda connection: self.evaluate(connection, script, keys, values))

    def make_another(self) -> RedisConnection:
        """Return a connection to the same server that can be used at the same time."""
        return RedisConnection(self._server, self._timeout)

    def ask(self, *words: object) -> Any:  # noqa: ANN401  # as many shapes as commands
        """Send one command, and return the answer."""
        return self.use(lambda connection: send(connection, *words))

    def use(self, act: Callable[[Any], Any]) -> Any:  # noqa: ANN401  # likewise
        """Return `act` of a connection that can be used."""
        connection, self._connection = self._connection, None
        if connection is None or not self._is_usable(connection):
            connection = self._open()
        try:
            answer = self._guard(lambda: act(connection))
        except (StoreFullError, RedirectError):  # answers, which were read completely
            self._connection = connection
            raise
        except BaseException:  # an interrupted call leaves an answer in the connection
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
        """Run a script; `before`: a command that is sent before it each time."""
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
        """Return whether a connection that was not used for a while still is one, and ours."""
        if self._process != get_process():
            return False  # C code has forked: the parent uses it
        try:
            if not connection.can_read():
                return True
        except self._errors:
            pass
        connection.disconnect()  # the server has closed it, or sent something unasked
        return False

    def _open(self) -> Any:  # noqa: ANN401  # of redis-py
        """Return a connection that can be used. Raises StoreError before anything was sent."""
        return self._connect(self._server.nodes[0])

    def _connect(self, node: Node, **options: object) -> Any:  # noqa: ANN401  # of redis-py
        host, port = node
        all_options = {**self._options, "host": host, "port": port, **options}
        connection = self._guard(lambda: self._class(**all_options))
        try:
            self._guard(connection.connect)
        except StoreError as error:
            problem = str(error)
        else:
            self._process = get_process()
            return connection
        raise UnreachableError(problem)

    def _guard(self, act: Callable[[], T]) -> T:
        """Return `act()`; raises an interruption as it is, and StoreError for any other error."""
        failure: BaseException
        try:
            return act()
        except BaseException as error:  # noqa: BLE001  # raised below, without frames of redis-py
            failure = _get_interruption(error) or self._to_store_error(error)
            _remove_frames(failure)
        try:
            raise failure
        finally:
            del failure  # its traceback has this frame

    def _to_store_error(self, error: BaseException) -> StoreError:
        text = printable(str(error) or type(error).__name__, _LONGEST_ERROR)
        name = self._server.address
        if isinstance(error, self._redirects):
            return RedirectError(
                f"{name}: redirected to {text}", text, is_once=isinstance(error, self._ask_error)
            )
        if _OUT_OF_MEMORY in text:
            return StoreFullError(
                f"{name}: the server is full (maxmemory), and takes no more events"
            )
        return StoreError(f"{name}: {text}")


def send(connection: Any, *words: object) -> Any:  # noqa: ANN401  # of redis-py; as many shapes as commands
    """Send one command, and return the answer."""
    connection.send_packed_command(pack(*words))
    return connection.read_response()


def pack(*words: object) -> list[bytes]:
    """Return a command as it is sent, in one piece.

    With hundreds of words, redis-py takes several times as long.
    """
    encoded = [word if type(word) is bytes else str(word).encode() for word in words]
    parts = [b"$%d\r\n%b\r\n" % (len(word), word) for word in encoded]
    return [b"*%d\r\n%b" % (len(parts), b"".join(parts))]


def _get_interruption(error: BaseException) -> BaseException | None:
    """Return the interruption that an error is, or that redis-py has taken for one of a socket.

    A signal handler may raise TimeoutError, which is an OSError. What was raised before our call is
    in `__context__` as well, but did not pass redis-py.
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
    """Remove the frames of redis-py, and those that it called, from the tracebacks of an error.

    Those of a signal handler stay: they are what the error is about.
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
