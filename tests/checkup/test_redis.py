"""The Redis of a buffer is only read; each trouble of the server has its finding."""

from __future__ import annotations

import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from tests.checkup.conftest import by_name, make_config
from whisperr._checkup.buffer import inspect_buffer
from whisperr._checkup.hints import HINTS
from whisperr._checkup.redis import inspect_server
from whisperr._events.event import EventEncoder
from whisperr._queue.log.log import Log
from whisperr._queue.redis.connection import RedisConnection
from whisperr._queue.redis.keys import get_key
from whisperr._queue.redis.store import RedisStore
from whisperr._queue.redis.url import parse_server
from whisperr._secret import Secret
from whisperr.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import redis

    from tests.redis_server import RedisServer
    from whisperr._checkup.findings import Finding

NAMES = ["buffer", "persistence", "space", "backlog", "set aside"]
SECRET = "hunter2"


@pytest.fixture
def admin(redis_server: RedisServer) -> Iterator[redis.Redis]:
    """A client of an empty server; what it changes is undone."""
    client = redis_server.connect()
    client.flushall()
    yield client
    client.config_set("requirepass", "")
    client.config_set("maxmemory", "0")
    client.config_set("maxmemory-policy", "noeviction")
    client.flushall()


def inspect(url: str, **options: Any) -> dict[str, Finding]:
    return by_name(inspect_buffer(make_config(buffer=url, **options)))


def dump(admin: redis.Redis) -> dict[bytes, tuple[object, object]]:
    """Return all that is in the server."""
    return {key: (admin.dump(key), admin.type(key)) for key in admin.scan_iter()}


def leave(url: str, events: int) -> None:
    """Leave events in the streams. No process is connected then."""
    buffer, encoder = make_config(buffer=url).buffer, EventEncoder("1.0.0")
    server = parse_server(Secret(buffer.url))
    assert server is not None
    with closing(RedisConnection(server, 10.0)) as connection:
        store = RedisStore(connection, buffer.streams, 15.0, 10_000, 1 << 26)
        store.append([encoder.encode(f"user_{n}", "payment_failed")[1] for n in range(events)], 0)


def test_an_empty_redis_is_ok(redis_server: RedisServer, admin: redis.Redis) -> None:
    found = inspect(redis_server.url("shop"))
    assert list(found) == NAMES
    assert {one.state for one in found.values()} == {"ok"}
    text = f"redis://127.0.0.1:{redis_server.port}/0, stream shop: Redis "
    assert found["buffer"].text.startswith(text)
    assert found["persistence"].text == "appendonly yes"
    assert found["backlog"].text == "nothing waits"
    assert admin.keys() == []


@pytest.mark.parametrize("shards", [1, 4])
def test_what_waits_is_counted_over_all_shards_and_left_as_it_is(
    redis_server: RedisServer, admin: redis.Redis, shards: int
) -> None:
    url = redis_server.url("shop", shards=shards)
    leave(url, 9)
    before = dump(admin)
    text = inspect(url)["backlog"].text
    assert text.startswith("9 events, ")
    assert "; the oldest was added " in text
    assert text.endswith("; no process delivers at this moment")
    assert dump(admin) == before


def test_a_process_that_delivers_is_seen_by_its_lease(
    redis_server: RedisServer, admin: redis.Redis
) -> None:
    leave(redis_server.url("shop"), 1)
    admin.set("{shop}:lease", "1", px=60_000)
    assert inspect(redis_server.url("shop"))["backlog"].text.endswith("; a process delivers now")


def test_the_age_of_the_oldest_is_by_the_clock_of_redis(
    redis_server: RedisServer, admin: redis.Redis
) -> None:
    milliseconds = int((time.time() - 7_300) * 1_000)
    admin.xadd("shop", {"1:1": "{}"}, id=f"{milliseconds}-0")
    finding = inspect(redis_server.url("shop"))["backlog"]
    assert finding.text.startswith("1 event; the oldest was added 2 h ago; ")
    assert finding.hint == HINTS["backlog_late"].fix


def test_entries_that_were_set_aside_are_reported(
    redis_server: RedisServer, admin: redis.Redis
) -> None:
    admin.xadd("{shop}:rejected", {"reason": "damaged"})
    finding = inspect(redis_server.url("shop"))["set aside"]
    assert (finding.state, finding.text) == ("doubtful", "1 entry in {shop}:rejected")
    assert finding.hint.endswith("redis-cli -n 0 XRANGE '{shop}:rejected' - +")


def test_keys_beside_the_stream_that_hold_something_else_are_no_traceback(
    redis_server: RedisServer, admin: redis.Redis
) -> None:
    leave(redis_server.url("shop"), 1)
    for end in ("state", "lease", "rejected"):
        admin.delete(f"{{shop}}:{end}")
        admin.rpush(f"{{shop}}:{end}", "x")
    assert inspect(redis_server.url("shop"))["backlog"].text.startswith("1 event; ")


@pytest.mark.parametrize(
    ("settings", "name", "state", "code"),
    [
        (
            {"maxmemory": "100mb", "maxmemory-policy": "allkeys-lru"},
            "space",
            "doubtful",
            "evicting",
        ),
        ({"maxmemory": "100mb", "maxmemory-policy": "volatile-lru"}, "space", "ok", None),
        ({"maxmemory": "1", "maxmemory-policy": "noeviction"}, "space", "wrong", "redis_full"),
    ],
)
def test_the_settings_of_the_server_are_checked(
    redis_server: RedisServer,
    admin: redis.Redis,
    settings: dict[str, str],
    name: str,
    state: str,
    code: str | None,
) -> None:
    for setting, value in settings.items():
        admin.config_set(setting, value)
    finding = inspect(redis_server.url("shop"))[name]
    assert finding.state == state
    assert finding.hint == (HINTS[code].fix if code else "")


def test_a_key_of_another_type_is_wrong_and_left_as_it_is(
    redis_server: RedisServer, admin: redis.Redis
) -> None:
    admin.set("shop", "open")
    found = inspect(redis_server.url("shop"))
    assert found["buffer"].state == "wrong"
    assert found["buffer"].hint == HINTS["redis_key"].fix
    assert "backlog" not in found
    assert admin.get("shop") == b"open"


@pytest.mark.parametrize("user", ["", f":{SECRET}@", f"ada:{SECRET}@"])
def test_a_password_that_is_missing_or_wrong_is_told_apart(
    redis_server: RedisServer, admin: redis.Redis, user: str
) -> None:
    admin.config_set("requirepass", "another")
    found = inspect(redis_server.url("shop").replace("redis://", f"redis://{user}"))
    assert found["buffer"].hint == HINTS["redis_password"].fix
    assert list(found) == ["buffer"]
    assert SECRET not in str(found)


def test_a_user_who_may_not_ask_for_the_state_of_the_server_sees_the_rest(
    redis_server: RedisServer, admin: redis.Redis
) -> None:
    leave(redis_server.url("shop"), 2)
    admin.acl_setuser(
        "ada", enabled=True, passwords=["+pw"], categories=["+@all"], commands=["-info"], keys=["*"]
    )
    found = inspect(redis_server.url("shop").replace("redis://", "redis://ada:pw@"))
    admin.acl_deluser("ada")
    assert found["buffer"].state == "ok"
    assert found["persistence"].state == "skipped"
    assert found["backlog"].text.startswith("2 events")


def test_a_replica_is_wrong(redis_server: RedisServer, admin: redis.Redis) -> None:
    admin.execute_command("REPLICAOF", "127.0.0.1", "1")
    try:
        found = inspect(redis_server.url("shop"))
    finally:
        admin.execute_command("REPLICAOF", "NO", "ONE")
    assert found["buffer"].hint == HINTS["redis_replica"].fix


class Answers:
    """A server that answers what it is given, by command."""

    def __init__(self, **given: Any) -> None:
        self._given = {
            "PING": b"PONG",
            "INFO": b"redis_version:7.2.4\r\n",
            "TYPE": b"none",
            "TIME": [b"1", b"0"],
            "XLEN": 0,
            "XRANGE": [],
            "HGET": b"",
            "EXISTS": 0,
            **given,
        }

    def ask(self, *words: object) -> Any:
        given = self._given[str(words[0])]
        if isinstance(given, Exception):
            raise given
        return given


def inspect_answers(
    clock: Callable[[], float] = time.monotonic, **given: Any
) -> dict[str, Finding]:
    config = make_config(buffer="redis://127.0.0.1:1/0?stream=shop")
    return by_name(inspect_server(Answers(**given), config.buffer, config, clock))


class TestAnswers:
    @pytest.mark.parametrize(
        ("version", "is_old"),
        [("5.0.3", True), ("6.0.16", True), ("6.2.0", False), ("8.0-rc1", False), ("x", False)],
    )
    def test_an_old_version_is_wrong(self, version: str, is_old: bool) -> None:
        finding = inspect_answers(INFO=f"redis_version:{version}\r\n".encode())["buffer"]
        assert (finding.hint == HINTS["redis_old"].fix) is is_old

    def test_a_redis_without_an_append_only_file_is_doubtful(self) -> None:
        finding = inspect_answers(INFO=b"aof_enabled:0\r\n")["persistence"]
        assert finding.hint == HINTS["not_persistent"].fix

    def test_a_disk_that_cannot_be_written_is_wrong(self) -> None:
        info = b"rdb_last_bgsave_status:err\r\naof_enabled:1\r\n"
        finding = inspect_answers(INFO=info)["persistence"]
        assert (finding.state, finding.text) == ("wrong", "rdb_last_bgsave_status: err")

    @pytest.mark.parametrize("info", [b"", b"\xff\xfe", b"redis_version:x\r\nmaxmemory:x\r\n:"])
    def test_an_odd_state_of_the_server_is_no_fault(self, info: bytes) -> None:
        assert inspect_answers(INFO=info)["buffer"].state == "ok"

    @pytest.mark.parametrize(
        "given",
        [
            {"INFO": 5},
            {"TYPE": None},
            {"TIME": b"now"},
            {"TIME": []},
            {"XLEN": b"many"},
            {"XRANGE": [[b"x-y", None]]},
            {"XRANGE": [b""]},
        ],
    )
    def test_answers_of_something_else_are_wrong_and_no_traceback(
        self, given: dict[str, Any]
    ) -> None:
        *_, last = inspect_answers(**given).values()
        assert last.hint == HINTS["redis_odd"].fix

    def test_a_slow_one_is_doubtful(self) -> None:
        times = iter([0.0, 0.3])
        assert inspect_answers(lambda: next(times))["buffer"].hint == HINTS["redis_slow"].fix

    @pytest.mark.parametrize(
        ("command", "text", "name", "code"),
        [
            ("PING", "certificate verify failed: self-signed", "buffer", "redis_tls"),
            ("TYPE", "this user has no permissions to run", "buffer", "redis_forbids"),
            ("XLEN", "Connection reset by peer", "backlog", "redis_away"),
        ],
    )
    def test_a_failure_names_what_it_stopped(
        self, command: str, text: str, name: str, code: str
    ) -> None:
        given: dict[str, Any] = {command: StoreError(text)}
        *_, last = inspect_answers(**given).values()
        assert last == (name, "wrong", text, HINTS[code].fix)


def test_a_redis_that_is_away(free_port: int) -> None:
    found = inspect(f"redis://ada:{SECRET}@127.0.0.1:{free_port}/0")
    assert list(found) == ["buffer"]
    assert found["buffer"].hint == HINTS["redis_away"].fix
    assert SECRET not in str(found)


def test_dead_letters_are_reported_where_they_are_kept(
    redis_server: RedisServer, admin: redis.Redis
) -> None:
    url = redis_server.url("refusals")
    assert "dead letters" not in inspect(url)
    assert inspect(f"{url}&dead_letters=true")["dead letters"].text == "none"
    admin.xadd(get_key("refusals", "dead"), {"data": "x"})
    finding = inspect(url)["dead letters"]
    assert (finding.state, finding.text) == ("doubtful", "1")
    assert "whisperr dead-letters list" in finding.hint


def leave_in_log(url: str, events: int) -> Log:
    """Leave events in the log of a buffer; nothing of them is in Redis."""
    buffer, encoder = make_config(buffer=url).buffer, EventEncoder("1.0.0")
    log = Log(buffer.log, buffer.log_owner, 1_000, 1 << 20, fsync=False)
    for _ in range(events):
        log.write(encoder.encode("ada", "payment_failed")[1])
    return log


def test_what_waits_in_a_log_is_counted_with_what_is_in_redis(
    redis_server: RedisServer, admin: redis.Redis, tmp_path: Path
) -> None:
    url = redis_server.url("shop", log=tmp_path / "log")
    assert list(inspect(url)) == [*NAMES[:3], "log", *NAMES[3:]]
    assert inspect(url)["log"].text.endswith("does not exist yet; the first event creates it")
    leave(url, 1)
    log = leave_in_log(url, 2)
    before = dump(admin)
    found = inspect(url)
    assert dump(admin) == before
    assert found["log"].state == "ok"
    assert found["backlog"].text.startswith("3 events, ")
    assert ": 1 in Redis, 2 in the log of a running process; the oldest " in found["backlog"].text
    log.close()
    text = inspect(url)["backlog"].text
    assert ": 1 in Redis, 2 in the log of a process that has ended; " in text


def test_one_directory_serves_many_streams(redis_server: RedisServer, tmp_path: Path) -> None:
    leave_in_log(redis_server.url("shop", log=tmp_path / "log"), 1).close()
    found = inspect(redis_server.url("other", log=tmp_path / "log"))
    assert found["backlog"].text == "nothing waits"


@pytest.mark.parametrize("events", [0, 2])
def test_the_log_is_checked_when_redis_is_away(free_port: int, tmp_path: Path, events: int) -> None:
    url = f"redis://127.0.0.1:{free_port}/0?log={tmp_path / 'log'}"
    leave_in_log(url, events).close()
    found = inspect(url)
    assert found["buffer"].hint == HINTS["redis_away"].fix
    assert found["log"].state == "ok"
    if events:
        assert ": 2 in the log of a process that has ended; " in found["backlog"].text
    else:
        assert "backlog" not in found


def test_the_log_is_counted_when_the_key_holds_something_else(
    redis_server: RedisServer, admin: redis.Redis, tmp_path: Path
) -> None:
    admin.set("shop", "open")
    url = redis_server.url("shop", log=tmp_path / "log")
    leave_in_log(url, 2).close()
    found = inspect(url)
    assert found["buffer"].hint == HINTS["redis_key"].fix
    assert found["backlog"].text.startswith("2 events, ")
