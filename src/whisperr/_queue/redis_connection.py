"""The connection to Redis: one, opened when needed, closed after any doubt.

The only file that uses redis-py (the extra `redis`). Its own retries are off: a call of `track()`
must not wait for them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from whisperr.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any


class RedisConnection:
    """One connection to one Redis server; every call ends within `timeout` or raises StoreError.

    Opening the connection takes as long again at most, apart from looking up the host name.
    """

    def __init__(self, name: str, url: str, timeout: float) -> None:
        """`name` is for error texts: no password."""
        import redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        self._name = name
        self._errors = (redis.RedisError, OSError)
        self._make: Callable[[], Any] = lambda: redis.Redis.from_url(
            url,
            socket_timeout=timeout,
            socket_connect_timeout=timeout,
            socket_keepalive=True,
            max_connections=1,
            retry=Retry(NoBackoff(), 0),
            protocol=2,
        )
        self._client: Any = None
        self._scripts: dict[str, Any] = {}

    def run(self, script: str, keys: Sequence[str], values: Sequence[object]) -> Any:  # noqa: ANN401  # as many shapes as scripts
        """Run a script on the server; its text is sent only if the server does not know it."""

        def act(client: Any) -> Any:  # noqa: ANN401  # of redis-py
            if script not in self._scripts:
                self._scripts[script] = client.register_script(script)
            return self._scripts[script](keys, values, client)

        return self._use(act)

    def call(self, *command: str) -> Any:  # noqa: ANN401  # as many shapes as commands
        """Run one command."""
        return self._use(lambda client: client.execute_command(*command))

    def close(self) -> None:
        """Close the connection; the next call opens another one."""
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def _use(self, act: Callable[[Any], Any]) -> Any:  # noqa: ANN401  # likewise
        if self._client is None:
            self._client = self._make()
        try:
            return act(self._client)
        except self._errors as error:
            self.close()
            raise StoreError(f"{self._name}: {error or type(error).__name__}") from error
        except BaseException:  # an interrupted call leaves an answer in the connection
            self.close()
            raise
