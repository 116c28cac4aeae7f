"""Checks the Redis server of a buffer with commands that only read."""

from __future__ import annotations

import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

from whisperr._process.interruption import is_interruption
from whisperr._queue.redis.keys import get_key
from whisperr._queue.redis.servers import connect
from whisperr._queue.redis.url import CLUSTER, parse_server
from whisperr._secret import Secret
from whisperr.errors import StoreError

from .backlog import NOTHING, Backlog, add_logs, inspect_backlog, inspect_dead_letters
from .findings import Finding, find, to_milliseconds, to_size
from .log import inspect_log

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
    from typing import Protocol

    from whisperr._options import Config
    from whisperr.buffers import RedisBuffer

    from .backlog import LogContent

    class Asks(Protocol):
        """Sends one command to a server and returns its answer; raises StoreError."""

        def ask(self, *words: object) -> Any:  # noqa: ANN401  # as many shapes as commands
            ...


# Longer than the usual timeout of a buffer, because a timeout that is too short is a finding.
_TIMEOUT = 3.0
_OLDEST_VERSION = (6, 2)
# The problem that a failure means, by words in the errors of the server and of redis-py.
_TROUBLES = {
    "redis_forbids": ("NOPERM", "no permissions"),
    "redis_password": ("NOAUTH", "WRONGPASS", "Authentication", "invalid username", "invalid pass"),
    "redis_tls": ("certificate",),
}
_NEARLY_FULL = 0.95
_MOST_DIGITS = 16
_STORE = "Redis"


def inspect_redis(buffer: RedisBuffer, config: Config) -> Iterator[Finding]:
    """Yield the findings about the server and the streams of a buffer, and its log."""
    server = parse_server(Secret(buffer.url))
    assert server is not None  # `RedisBuffer` has checked it
    with closing(connect(server, max(buffer.timeout, _TIMEOUT))) as redis:
        yield from inspect_server(redis, buffer, config)


def inspect_server(
    redis: Asks, buffer: RedisBuffer, config: Config, clock: Callable[[], float] = time.monotonic
) -> Iterator[Finding]:
    """Yield the findings; `redis` sends commands to the server."""
    name = "buffer"
    try:
        redis.ask("PING")  # which opens the connection
        began = clock()
        redis.ask("PING")
        duration, info = clock() - began, _get_info(redis)
        trouble = _inspect_keys(redis, buffer, info)
        yield trouble or _inspect_speed(buffer, duration, info)
        name = "backlog"
        yield from _inspect_settings(info)
        logs = yield from _inspect_log(buffer, config)
        if trouble is None:
            yield from _inspect_streams(redis, buffer, config, logs)
        else:
            yield from _inspect_left(logs, config)
    except StoreError as error:
        yield _to_trouble(str(error))._replace(name=name)
    except (AttributeError, IndexError, TypeError, ValueError) as error:  # of what was answered
        if is_interruption(error):
            raise
        yield find("redis_odd", f"{buffer.address} does not answer like Redis")._replace(name=name)
    else:
        return
    if name == "buffer":
        logs = yield from _inspect_log(buffer, config)
        yield from _inspect_left(logs, config)


def _inspect_log(
    buffer: RedisBuffer, config: Config
) -> Generator[Finding, None, Sequence[LogContent]]:
    """Yield the finding about the log, if the buffer has one; return its waiting events."""
    if buffer.log is None:
        return ()
    finding, logs = inspect_log(buffer.log, buffer.log_owner, config.max_queue_bytes)
    yield finding
    return logs


def _inspect_left(logs: Sequence[LogContent], config: Config) -> Iterator[Finding]:
    """Yield the backlog of the logs alone, when the streams cannot be read."""
    backlog = add_logs(NOTHING, _STORE, logs)
    if backlog.events:
        yield inspect_backlog(backlog, config)


def _to_trouble(text: str) -> Finding:
    for code, words in _TROUBLES.items():
        if any(word in text for word in words):
            return find(code, text)
    return find("redis_away", text)


def _get_info(redis: Asks) -> Mapping[str, str]:
    """Return the INFO of the server; empty if the user may not ask for it."""
    try:
        lines = redis.ask("INFO").decode(errors="replace").splitlines()
    except StoreError:
        return {}
    pairs = (line.partition(":") for line in lines)
    return {name: value.strip() for name, _, value in pairs}


def _inspect_keys(redis: Asks, buffer: RedisBuffer, info: Mapping[str, str]) -> Finding | None:
    """Return the finding about why events cannot be stored there; None if they can."""
    where = f"{buffer.address}, stream {buffer.stream}"
    version = info.get("redis_version", "")
    numbers = version.split(".")[:2]
    if all(one.isdecimal() for one in numbers) and tuple(map(int, numbers)) < _OLDEST_VERSION:
        return find("redis_old", f"{where}: Redis {version}")
    if info.get("role") == "slave":
        return find("redis_replica", f"{where}: a replica")
    for stream in buffer.streams:
        kind = redis.ask("TYPE", stream).decode(errors="replace")
        if kind not in ("stream", "none"):
            return find("redis_key", f"{where}: the key {stream} holds a {kind}")
    return None


def _inspect_speed(buffer: RedisBuffer, duration: float, info: Mapping[str, str]) -> Finding:
    version = f"Redis {info['redis_version']}, " if "redis_version" in info else ""
    shards = f", {buffer.shards} shards" if buffer.shards > 1 else ""
    text = f"{buffer.address}, stream {buffer.stream}{shards}: {version}{to_milliseconds(duration)}"
    if duration > buffer.timeout:
        return find("redis_slow", f"{text}; its timeout is {to_milliseconds(buffer.timeout)}")
    return Finding("buffer", "ok", text)


def _inspect_settings(info: Mapping[str, str]) -> Iterator[Finding]:
    if not info:
        yield Finding("persistence", "skipped", "this user may not ask (INFO)")
        return
    failed = [
        name
        for name in ("aof_last_write_status", "rdb_last_bgsave_status")
        if info.get(name, "ok") != "ok"
    ]
    if failed:
        yield find("not_written", f"{', '.join(failed)}: {info[failed[0]]}")
    elif info.get("aof_enabled") == "1":
        yield Finding("persistence", "ok", "appendonly yes")
    else:
        yield find("not_persistent", "appendonly no")
    yield _inspect_memory(info)


def _inspect_memory(info: Mapping[str, str]) -> Finding:
    used, most = _to_int(info.get("used_memory")), _to_int(info.get("maxmemory"))
    policy = info.get("maxmemory_policy", "noeviction")
    if not most:
        return Finding("space", "ok", f"{to_size(used)} of memory used, maxmemory is not set")
    text = f"{to_size(used)} of {to_size(most)} of memory used, {policy}"
    if policy.startswith("allkeys"):  # a stream has no expiry, so that `volatile-` spares it
        return find("evicting", text)
    return find("redis_full", text) if used > _NEARLY_FULL * most else Finding("space", "ok", text)


def _inspect_streams(
    redis: Asks, buffer: RedisBuffer, config: Config, logs: Sequence[LogContent]
) -> Iterator[Finding]:
    events, size, rejected, dead, is_claimed = 0, 0, 0, 0, False
    oldest: list[float] = []
    seconds, microseconds = redis.ask("TIME")
    now = int(seconds) + int(microseconds) / 1e6  # its clock has made the ids
    for stream in buffer.streams:
        events += redis.ask("XLEN", stream)
        size += _to_int(_ask_leniently(redis, "HGET", get_key(stream, "state"), "bytes"))
        is_claimed |= bool(_ask_leniently(redis, "EXISTS", get_key(stream, "lease")))
        rejected += _to_int(_ask_leniently(redis, "XLEN", get_key(stream, "rejected")))
        dead += _to_int(_ask_leniently(redis, "XLEN", get_key(stream, "dead")))
        first = redis.ask("XRANGE", stream, "-", "+", "COUNT", 1)
        oldest += [now - int(id_.partition(b"-")[0]) / 1e3 for id_, _ in first]
    age = max(*oldest, 0.0) if oldest else None
    backlog = Backlog(events, size or None, age, "was added", is_claimed=is_claimed)
    yield inspect_backlog(add_logs(backlog, _STORE, logs), config)
    yield _inspect_set_aside(buffer, rejected)
    if dead or buffer.dead_letters:
        yield inspect_dead_letters(dead)


def _inspect_set_aside(buffer: RedisBuffer, rejected: int) -> Finding:
    if not rejected:
        return Finding("set aside", "ok", "nothing")
    key = get_key(buffer.streams[0], "rejected")
    command = f"redis-cli {_get_place(buffer)} XRANGE '{key}' - +"
    count = "1 entry" if rejected == 1 else f"{rejected:,} entries"
    text = f"{count} in {get_key(buffer.stream, 'rejected')}"
    return find("set_aside", text, store=f"the stream {buffer.stream}", command=command)


def _ask_leniently(redis: Asks, *words: object) -> Any:  # noqa: ANN401  # as `ask`
    """Return the answer; None if a key beside the stream has another type."""
    try:
        return redis.ask(*words)
    except StoreError:
        return None


def _to_int(value: object) -> int:
    """Return a count; 0 for anything else, because any client may have changed it."""
    text = value.decode(errors="replace") if isinstance(value, bytes) else str(value)
    is_count = text.isascii() and text.isdecimal() and len(text) < _MOST_DIGITS
    return int(text) if is_count else 0


def _get_place(buffer: RedisBuffer) -> str:
    """Return the option of redis-cli that selects the database, or a cluster."""
    server = parse_server(Secret(buffer.url))
    assert server is not None  # `RedisBuffer` has checked it
    return "-c" if server.kind == CLUSTER else f"-n {server.database}"
