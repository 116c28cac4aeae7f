"""Several servers behind one URL: sentinels that know the master, and clusters."""

from __future__ import annotations

import re
import socket
import threading
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from tests.delivery.rig import event
from tests.queue.queues import ROOM, RecordingAccounting, open_directly
from tests.queue.store_contract import put, to_numbers
from tests.redis_server import get_free_port
from tests.redis_servers import LIMIT, SERVICE, Sentinel, cluster, guarded, wait_until
from whisperr._checkup.redis import inspect_redis
from whisperr._options import OPTIONS, Config
from whisperr._queue.redis.keys import get_key, get_keys, get_problem
from whisperr._queue.redis.servers import ClusterConnection, connect, parse_node
from whisperr._queue.redis.url import parse_server
from whisperr._secret import Secret
from whisperr.buffers import RedisBuffer, parse_buffer_url
from whisperr.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.redis_servers import Cluster, Guarded
    from whisperr._queue.durable import LeasedQueue

__all__ = ["cluster", "guarded"]  # fixtures


@pytest.fixture
def open_queue() -> Iterator[Callable[[str], LeasedQueue]]:
    made: list[LeasedQueue] = []

    def open_one(url: str) -> LeasedQueue:
        queue = open_directly(parse_buffer_url(url), ROOM, ROOM, RecordingAccounting())
        made.append(queue)
        queue._clock = lambda: len(made) + next(ticks)
        return queue

    ticks = iter(range(0, 10**9, 10))  # a store that failed is used again at once
    yield open_one
    for queue in made:
        queue.drain()


def make_event(user: int, number: int) -> bytes:
    return b'{"event_type":"e","external_user_id":"user_%d","number":%d}' % (user, number)


class TestSentinel:
    def test_events_go_to_the_master_that_it_names(
        self, guarded: Guarded, open_queue: Callable[[str], LeasedQueue]
    ) -> None:
        queue = open_queue(guarded.url("shop"))
        put(queue, 1, 2)
        assert guarded.master.connect().xlen("shop") == 2
        assert to_numbers(queue.claim(10)) == [1, 2]
        assert queue.ack(2) == 2

    def test_a_sentinel_that_is_gone_is_passed_over(
        self, guarded: Guarded, open_queue: Callable[[str], LeasedQueue]
    ) -> None:
        queue = open_queue(guarded.url("shop", before=f"127.0.0.1:{get_free_port()},"))
        put(queue, 1)
        assert guarded.master.connect().xlen("shop") == 1

    def test_after_a_fail_over_the_new_master_is_used(
        self, guarded: Guarded, open_queue: Callable[[str], LeasedQueue]
    ) -> None:
        queue = open_queue(guarded.url("shop"))
        put(queue, 1)
        assert guarded.master.connect().wait(1, int(LIMIT * 1_000)) == 1
        guarded.fail_over()

        numbers = iter(range(2, 10**6))

        def is_stored() -> bool:
            queue.put(event(next(numbers)))
            return not len(queue._transit)

        wait_until(is_stored, "nothing is stored at the new master")
        last = next(numbers) - 1
        assert guarded.replica.connect().xlen("shop") == last
        claimed: list[int] = []
        while batch := queue.claim(500):
            claimed += to_numbers(batch)
            assert queue.ack(len(batch)) == len(batch)
        assert claimed == list(range(1, last + 1))

    def test_a_replica_is_not_taken_for_the_master(self, guarded: Guarded) -> None:
        """As if a sentinel has not noticed yet that a server is not the master any more."""
        guarded.master.connect().replicaof("127.0.0.1", guarded.replica.port)
        server = parse_server(Secret(guarded.url("shop").partition("?")[0]))
        assert server is not None
        problem = "is not a master but a slave"
        with (
            closing(connect(server, 5)) as connection,
            pytest.raises(StoreError, match=problem) as caught,
        ):
            connection.run("return 1", get_keys("shop", 1), [])
        assert SERVICE in str(caught.value)

    def test_a_service_that_it_does_not_know_is_named(
        self, guarded: Guarded, open_queue: Callable[[str], LeasedQueue]
    ) -> None:
        queue = open_queue(guarded.url("shop").replace(SERVICE, "unknown"))
        queue.put(event(1))
        accounting = queue._accounting
        assert isinstance(accounting, RecordingAccounting)
        assert "has no master of 'unknown'" in (accounting.problem or "")
        assert "does not know this service" in (accounting.problem or "")

    def test_a_password_is_given_to_servers_and_to_sentinels_that_ask_for_it(
        self, guarded: Guarded, open_queue: Callable[[str], LeasedQueue], tmp_path: Path
    ) -> None:
        guarded.master.connect().config_set("requirepass", "hunter2")
        guarded.nodes.append(Sentinel(tmp_path, guarded.master.port, "hunter2"))
        port = guarded.nodes[-1].port
        url = guarded.url("shop").replace("://", "://:hunter2@")
        queue = open_queue(url)
        put(queue, 1)
        other = open_queue(url.replace(f"{guarded.sentinel.port}", f"{port}"))
        put(other, 2)
        assert to_numbers(other.claim(10)) == [1, 2]
        assert other.ack(2) == 2
        assert queue._access.problem is None
        wrong = open_queue(guarded.url("shop").replace("://", "://:wrong2@"))
        wrong.put(event(3))
        problem = wrong._access.problem or ""
        assert problem
        assert "wrong2" not in problem


class TestCluster:
    def test_all_keys_of_a_stream_are_on_one_server(
        self, cluster: Cluster, open_queue: Callable[[str], LeasedQueue]
    ) -> None:
        a, b = open_queue(cluster.url("one", shards=8)), open_queue(cluster.url("one", shards=8))
        for number in range(64):
            a.put(make_event(number, number))
        owners = {cluster.get_owner(f"one:{at}").port for at in range(8)}
        assert len(owners) == 2
        claimed: list[int] = []
        while batch := b.claim(100):  # counts them for the other process
            claimed += to_numbers(batch)
            assert b.ack(len(batch)) == len(batch)
        assert sorted(claimed) == list(range(64))
        a.poll()
        assert a._accounting.settled == {"delivered": 64}  # type: ignore[attr-defined]  # of the tests
        assert a.settled(a.tail())
        for queue in (a, b):
            assert queue._access.problem is None
        for node in cluster.nodes:
            keys = [key.decode() for key in node.connect().keys("*one:*")]
            assert {cluster.get_owner(key).port for key in keys} == {node.port}

    def test_one_connection_is_made_to_each_server_that_is_used(
        self, cluster: Cluster, open_queue: Callable[[str], LeasedQueue]
    ) -> None:
        queue = open_queue(cluster.url("few", shards=16))
        for number in range(64):
            queue.put(make_event(number, number))
        store = queue._store
        connection = store._connection  # type: ignore[attr-defined]  # of the Redis store
        assert isinstance(connection, ClusterConnection)
        assert len(connection._connections) == 2

    def test_a_server_of_the_url_that_is_gone_is_passed_over(
        self, cluster: Cluster, open_queue: Callable[[str], LeasedQueue]
    ) -> None:
        queue = open_queue(cluster.url("gone", before=f"127.0.0.1:{get_free_port()},"))
        put(queue, 1)
        assert cluster.get_owner("gone").connect().xlen("gone") == 1

    def test_a_slot_that_moves_is_followed(
        self, cluster: Cluster, open_queue: Callable[[str], LeasedQueue]
    ) -> None:
        queue = open_queue(cluster.url("moves"))
        put(queue, 1)
        old = cluster.get_owner("moves")
        new = next(node for node in cluster.nodes if node is not old)
        slot = old.connect().execute_command("CLUSTER", "KEYSLOT", "moves")
        ids = {
            node.port: node.connect().execute_command("CLUSTER", "MYID").decode()
            for node in cluster.nodes
        }
        new.connect().execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", ids[old.port])
        old.connect().execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", ids[new.port])
        for key in old.connect().keys("*moves*"):
            old.connect().execute_command("MIGRATE", "127.0.0.1", new.port, key, 0, 5_000)
        put(queue, 2)  # the old one has the slot, the new one has the keys: no server has both
        assert "rehashing" in (queue._access.problem or "")
        connection = queue._store._connection  # type: ignore[attr-defined]  # of the Redis store
        assert connection.ask("XLEN", "moves") == 1  # where only one key is needed
        for node in (new, old):
            node.connect().execute_command("CLUSTER", "SETSLOT", slot, "NODE", ids[new.port])
        put(queue, 3)
        assert queue._access.problem is None
        assert new.connect().xlen("moves") == 3
        assert to_numbers(queue.claim(10)) == [1, 2, 3]
        assert queue.ack(3) == 3


def test_the_doctor_looks_at_the_servers_that_are_used(cluster: Cluster, guarded: Guarded) -> None:
    for url in (cluster.url("seen", shards=4), guarded.url("seen")):
        buffer = parse_buffer_url(url)
        assert isinstance(buffer, RedisBuffer)
        queue = buffer.open(ROOM, ROOM, RecordingAccounting())
        for number in range(8):
            queue.put(make_event(number, number))
        queue.drain()
        options = {option.name: option.default for option in OPTIONS}
        config = Config({**options, "api_key": Secret("wrk_test"), "buffer": buffer})
        findings = {one.name: one for one in inspect_redis(buffer, config)}
        assert findings["buffer"].state == "ok"
        assert findings["backlog"].text.startswith("8 events")


class RedirectingServer:
    """Answers each command with the same error."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.commands = 0
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._listener.close()
        self._thread.join(LIMIT)

    def _serve(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError:
            return
        with connection, connection.makefile("rb") as lines:
            for line in lines:
                if line.startswith(b"*"):
                    is_setting = b"CLIENT" in lines.peek(64)[:40]
                    self.commands += not is_setting
                    answer = b"+OK\r\n" if is_setting else self._answer
                    connection.sendall(answer.replace(b"PORT", b"%d" % self.port))


class TestOddAnswers:
    def ask(self, answer: bytes) -> tuple[str, int]:
        with closing(RedirectingServer(answer)) as odd:
            server = parse_server(Secret(f"redis+cluster://127.0.0.1:{odd.port}"))
            assert server is not None
            with closing(connect(server, 5)) as connection, pytest.raises(StoreError) as caught:
                connection.ask("GET", "key")
            return str(caught.value), odd.commands

    def test_servers_that_redirect_in_a_circle_are_left(self) -> None:
        problem, commands = self.ask(b"-MOVED 1 127.0.0.1:PORT\r\n")
        assert "redirected a call too often" in problem
        assert commands <= 5

    def test_without_a_host_it_is_the_same_one(self) -> None:
        assert "redirected a call too often" in self.ask(b"-MOVED 1 :PORT\r\n")[0]

    @pytest.mark.parametrize("target", [b"host:99999", b"host", b"\x1b[2J:1", b""])
    def test_what_is_no_address_is_refused(self, target: bytes) -> None:
        problem, commands = self.ask(b"-MOVED 1 %b\r\n" % target)
        assert problem
        assert "\x1b" not in problem
        assert commands <= 5

    @pytest.mark.parametrize(
        ("host", "port", "node"),
        [
            (b"10.0.0.1", b"6379", ("10.0.0.1", 6379)),
            ("::1", "1", ("::1", 1)),
            (b"", b"1", None),
            (b"a b", b"1", None),
            (b"a\x00", b"1", None),
            (b"a" * 300, b"1", None),
            (b"a", b"0", None),
            (b"a", b"65536", None),
            (b"a", b"9" * 5_000, None),
            (b"a", "\u0661", None),
            (None, b"1", None),
        ],
    )
    def test_an_address_is_checked(
        self, host: object, port: object, node: tuple[str, int] | None
    ) -> None:
        assert parse_node(host, port) == node


class TestKeys:
    @pytest.mark.parametrize(
        ("stream", "key"),
        [
            ("whisperr", "{whisperr}:state"),
            ("whisperr:3", "{whisperr:3}:state"),
            ("{shop}:events", "{shop}:events:state"),
            ("a{shop}:3", "a{shop}:3:state"),
            ("a{b", "{a{b}:state"),
        ],
    )
    def test_a_key_beside_a_stream_has_its_tag(
        self, stream: str, key: str, cluster: Cluster
    ) -> None:
        assert get_key(stream, "state") == key
        client = cluster.nodes[0].connect()
        slots = {client.execute_command("CLUSTER", "KEYSLOT", one) for one in get_keys(stream, 7)}
        assert len(slots) == 1
        assert get_problem(stream) is None

    @pytest.mark.parametrize("stream", ["a}b", "a{}b", "{}", "}{a}", "{}a{b}"])
    def test_braces_that_make_no_tag_are_refused(self, stream: str) -> None:
        if stream == "}{a}":  # a tag all the same
            assert get_problem(stream) is None
            return
        with pytest.raises(ValueError, match=re.escape("such as {shop}:events")):
            RedisBuffer("redis://localhost", stream=stream)


class TestURL:
    @pytest.mark.parametrize(
        ("url", "address"),
        [
            ("redis+sentinel://a/main", "redis+sentinel://a:26379/main/0"),
            ("rediss+sentinel://u:p@a:1,b/main/2", "rediss+sentinel://a:1,b:26379/main/2"),
            ("redis+sentinel://[::1]:1,b:2/main", "redis+sentinel://[::1]:1,b:2/main/0"),
            ("redis+cluster://a,b:7001", "redis+cluster://a:6379,b:7001"),
            ("REDISS+Cluster://:p%40@a/0", "rediss+cluster://a:6379"),
        ],
    )
    def test_it_names_hosts_and_service(self, url: str, address: str) -> None:
        made = parse_buffer_url(f"{url}?stream=s")
        assert isinstance(made, RedisBuffer)
        assert made.address == address
        assert made.stream == "s"

    @pytest.mark.parametrize(
        "url",
        [
            "redis+sentinel://",
            "redis+sentinel://a",
            "redis+sentinel://a/",
            "redis+sentinel://a/main/x",
            "redis+sentinel://a/main/1/2",
            "redis+sentinel://a/ma in",
            "redis+sentinel://a,/main",
            "redis+sentinel://a:99999/main",
            "redis+cluster://a/1",
            "redis+cluster://a,b/x",
            "redis+cluster://,",
            "redis://a,b",
            "redis://a/" + "1" * 5_000,
        ],
    )
    def test_a_wrong_one_is_refused_with_the_fix(self, url: str) -> None:
        for full in (url, url.replace("://", "://:hunter2@")):
            with pytest.raises(ValueError, match=r"redis\+sentinel://host\[:port\]") as caught:
                parse_buffer_url(full)
            assert "hunter2" not in str(caught.value)
