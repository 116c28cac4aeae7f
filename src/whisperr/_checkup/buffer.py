"""Checks the buffer: where events wait until they are delivered."""

from __future__ import annotations

from typing import TYPE_CHECKING

from whisperr.buffers import RedisBuffer, SQLiteBuffer

from .findings import Finding, find

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from whisperr._options import Config


class OutboxElsewhere:
    """Takes the place of the outbox of Django in a command that does not know the project."""

    delivered_by = "`manage.py whisperr_relay`"

    def put(self, data: bytes) -> Sequence[bytes]:
        """Raise NotImplementedError: no client uses this."""
        raise NotImplementedError(len(data))


def inspect_buffer(config: Config) -> Iterator[Finding]:
    """Yield the findings about the buffer. Only reads, so that processes may use it meanwhile."""
    buffer = config.buffer
    if buffer is None:
        text = f"memory: at most {config.max_queue_size:,} events, lost when the process is killed"
        yield Finding("buffer", "ok", text)
    elif isinstance(buffer, SQLiteBuffer):
        from .sqlite import inspect_sqlite  # `sqlite3` may be missing where it is not used

        yield from inspect_sqlite(buffer, config)
    elif isinstance(buffer, RedisBuffer):
        from .redis import inspect_redis

        yield from inspect_redis(buffer, config)
    elif isinstance(buffer, OutboxElsewhere):
        yield find("outbox_elsewhere", "the outbox of a Django project")
    else:
        name = f"{type(buffer).__module__}.{type(buffer).__qualname__}"
        yield Finding("buffer", "skipped", f"a {name}, which this command cannot check")
