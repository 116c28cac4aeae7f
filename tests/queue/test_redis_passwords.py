"""The password in the URL of a Redis buffer: in no error, variable, pickle or page."""

from __future__ import annotations

import copy
import pickle
import signal
import socket
import threading
import traceback
from typing import TYPE_CHECKING

import pytest

from tests.queue.queues import ROOM, RecordingAccounting, open_directly
from tests.queue.test_redis_interruptions import UNCLOSED
from whisperr import Whisperr
from whisperr._integrations.client import SettingsReader
from whisperr._options import OPTIONS, Config
from whisperr._queue.redis.connection import RedisConnection
from whisperr._queue.redis.servers import connect as open_servers
from whisperr._queue.redis.url import parse_server
from whisperr._secret import Secret
from whisperr.buffers import RedisBuffer, parse_buffer_url
from whisperr.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.redis_server import RedisServer

SECRET = "hunter2"
URL = f"redis://user:{SECRET}@127.0.0.1:1/0"


def show(error: BaseException) -> str:
    """Return what crash reporters show: the variables of every frame, also of causes."""
    shown = traceback.TracebackException.from_exception(error, capture_locals=True)
    text = "".join(shown.format())
    context = error.__context__
    return text + (show(context) if context is not None else "")


def without_this_module(text: str) -> str:
    """Leave out the frames of the test, which has to hold the password."""
    frames = text.split('  File "')
    return "".join(frame for frame in frames if not frame.startswith(__file__))


def get_error(act: Callable[[], object], kind: type[BaseException] = ValueError) -> str:
    with pytest.raises(kind) as caught:
        act()
    return without_this_module(show(caught.value)) + str(caught.value)


WRONG_URLS = [
    f"redis://:{SECRET}@host:port",
    f"redis://:{SECRET}@host:99999",
    f"redis://:{SECRET}/x@host",
    f"redis://:a?{SECRET}@host",
    f"redis://:a?x={SECRET}@host",
    f"redis://:a?{SECRET}=x@host",
    f"redis://:a?stream={SECRET}@host",
    f"redis://:a#{SECRET}@host",
    f"redis://:{SECRET}@host/name",
    f"redis://:{SECRET}@[host",
    f"redis://:{SECRET}@host?shards=0",
    f"redis://:{SECRET}@host?unknown=1",
    f"redis:/:{SECRET}@host",
    f"redis+sentinel://:{SECRET}@host",
    f"redis+sentinel://:{SECRET}/x@host,other/main",
    f"redis+sentinel://:a?{SECRET}@host/main",
    f"redis+sentinel://:{SECRET}@host,:1/main",
    f"redis+cluster://:{SECRET}@host,other:port",
    f"redis+cluster://:a#{SECRET}@host",
    f"redis+other://:{SECRET}@host",
    f"postgres://:{SECRET}@host",
]


@pytest.mark.parametrize("url", WRONG_URLS)
@pytest.mark.parametrize(
    "use",
    [
        lambda url: Whisperr("wrk_test", buffer=url),
        parse_buffer_url,
        lambda url: Whisperr("wrk_test", **SettingsReader({"WHISPERR_BUFFER": url}.get).read()),
    ],
    ids=["client", "parser", "settings"],
)
def test_a_wrong_url_repeats_no_piece_of_it(url: str, use: Callable[[str], object]) -> None:
    assert SECRET not in get_error(lambda: use(url))


@pytest.mark.parametrize("url", [f"redis://:{SECRET}@host:port", f"x://:{SECRET}@host"])
def test_a_wrong_url_in_the_environment_is_not_repeated_either(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WHISPERR_BUFFER", url)
    text = get_error(lambda: Whisperr("wrk_test"))
    assert SECRET not in text


def test_another_wrong_option_does_not_show_it() -> None:
    text = get_error(lambda: Whisperr("wrk_test", buffer=URL, transport="none"))  # type: ignore[arg-type]
    assert "transport" in text
    assert SECRET not in text
    assert SECRET not in get_error(lambda: RedisBuffer(URL, shards=0))


def test_no_repr_shows_it() -> None:
    config = RedisBuffer(URL)
    defaults = {option.name: option.default for option in OPTIONS}
    options = Config({**defaults, "api_key": Secret("wrk_test"), "buffer": config})
    for value in (config, options, config._fields().keys(), config._server):
        assert SECRET not in repr(value)
    assert config.url == URL


def test_a_buffer_with_a_password_is_in_no_pickle() -> None:
    with pytest.raises(TypeError, match="password"):
        pickle.dumps(RedisBuffer(URL))
    assert copy.deepcopy(RedisBuffer(URL)) == copy.copy(RedisBuffer(URL)) == RedisBuffer(URL)
    plain = RedisBuffer("redis://host", stream="s", shards=3)
    assert pickle.loads(pickle.dumps(plain)) == plain
    assert plain != RedisBuffer("redis://other", stream="s", shards=3)


def connect(port: int) -> RedisConnection:
    server = parse_server(Secret(f"redis://user:{SECRET}@127.0.0.1:{port}/0"))
    assert server is not None
    return RedisConnection(server, 5.0)


def test_a_server_that_cannot_be_used_does_not_show_it(redis_server: RedisServer) -> None:
    for port in (1, redis_server.port):  # refused, and a wrong password
        text = get_error(lambda port=port: connect(port).run("return 1", [], []), StoreError)  # type: ignore[misc]
        assert "127.0.0.1" in text
        assert SECRET not in text


@pytest.mark.parametrize("rest", ["127.0.0.1:1,127.0.0.1:{port}/main", "127.0.0.1:{port}"])
def test_nor_do_sentinels_and_servers_of_a_cluster(rest: str, redis_server: RedisServer) -> None:
    kind = "sentinel" if "/" in rest else "cluster"
    url = f"redis+{kind}://user:{SECRET}@{rest.format(port=redis_server.port)}"
    server = parse_server(Secret(url))
    assert server is not None
    assert SECRET not in repr(server) + server.address
    connection = open_servers(server, 5.0)
    text = get_error(lambda: connection.run("return 1", ["key"], []), StoreError)
    assert f"redis+{kind}://127.0.0.1" in text
    assert SECRET not in text


class TimeLimit(Exception):
    """Raised by a signal handler, as by task queues."""


@pytest.fixture
def silent_server() -> Iterator[tuple[int, threading.Event]]:
    """A server that reads AUTH and does not answer; and an event that says that it has."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        read = threading.Event()

        def accept() -> None:
            with server.accept()[0] as connection:
                connection.recv(1_000)
                read.set()
                connection.recv(1_000)

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield server.getsockname()[1], read
        thread.join(30)


@pytest.mark.skipif(not hasattr(signal, "SIGALRM"), reason="needs signals")
@pytest.mark.filterwarnings(*UNCLOSED)
def test_a_time_limit_during_the_authentication_does_not_show_it(
    silent_server: tuple[int, threading.Event],
) -> None:
    port, read = silent_server
    main = threading.main_thread().ident or 0

    def interrupt() -> None:
        assert read.wait(30)
        signal.pthread_kill(main, signal.SIGALRM)

    def handle(*_: object) -> None:
        raise TimeLimit("time is up")

    before = signal.signal(signal.SIGALRM, handle)
    thread = threading.Thread(target=interrupt)
    thread.start()
    try:
        text = get_error(lambda: connect(port).run("return 1", [], []), TimeLimit)
    finally:
        thread.join(30)
        signal.signal(signal.SIGALRM, before)
    assert "time is up" in text
    assert SECRET not in text


def test_a_password_that_is_encoded_is_decoded(redis_server: RedisServer) -> None:
    admin = redis_server.connect()
    admin.acl_setuser(
        "whisperr-test",
        enabled=True,
        passwords=["+ a/b?c#d@e:f%g "],
        categories=["+@all"],
        keys=["*"],
    )
    url = f"redis://whisperr-test:%20a%2Fb%3Fc%23d%40e%3Af%25g%20@127.0.0.1:{redis_server.port}/0"
    accounting = RecordingAccounting()
    config = parse_buffer_url(f"{url}?stream=encoded&timeout=5")
    queue = open_directly(config, 10, ROOM, accounting)
    try:
        assert queue.put(b"{}") == []
        assert accounting.problem is None
    finally:
        queue.drain()
        admin.acl_deluser("whisperr-test")
        admin.delete(*admin.scan_iter("*encoded*"))
