"""The stream of what arrives: live, resumed, bounded, with any payload."""

from __future__ import annotations

import json
import socket
import sys
import time
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPResponse
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

from tests.dev.wire import BATCH, NOW, call, event, post
from whisperr.dev import LocalServer, faults
from whisperr.dev._memory.arrivals import Cursor
from whisperr.dev._web import stream as _stream

if TYPE_CHECKING:
    from collections.abc import Iterator


class Reader:
    """Reads one stream, message by message."""

    def __init__(self, answer: HTTPResponse) -> None:
        self.answer = answer
        self.last = ""

    def next(self, name: str = "news") -> Any:
        """Return the data of the next message of this name; None when the stream ends."""
        fields: dict[str, str] = {}
        while line := self.answer.readline():
            if line == b"\n":
                if fields["event"] == name:
                    self.last = fields.get("id", self.last)
                    return json.loads(fields["data"])
                fields = {}
                continue
            key, _, value = line.decode("ascii").rstrip("\n").partition(": ")
            fields[key] = value
        return None

    def until(self, count: int) -> list[Any]:
        """Return the next so many arrivals, of as many messages as it takes."""
        found: list[Any] = []
        while len(found) < count:
            found += self.next()["arrivals"]
        return found


@contextmanager
def reading(server: LocalServer, query: str = "", last: str | None = None) -> Iterator[Reader]:
    connection = HTTPConnection("127.0.0.1", server.port, timeout=60)
    headers = {} if last is None else {"Last-Event-ID": last}
    connection.request("GET", f"/_dev/stream{query}", headers=headers)
    answer = connection.getresponse()
    assert answer.status == 200, answer.read()
    assert answer.getheader("Content-Type") == "text/event-stream; charset=utf-8"
    try:
        yield Reader(answer)
    finally:
        answer.close()
        connection.close()


def send(server: LocalServer, *ids: str, **changes: Any) -> None:
    body = {"events": [event(message_id, **changes) for message_id in ids]}
    assert post(server, BATCH, body)[0] == 202


def get_ids(arrivals: list[Any]) -> list[str]:
    return [arrival["message_id"] for arrival in arrivals]


def test_kept_arrivals_come_first_and_then_new_ones(server: LocalServer) -> None:
    send(server, "a")
    with reading(server) as reader:
        first = reader.next()
        assert (first["fresh"], get_ids(first["arrivals"])) == (True, ["a"])
        assert first["summary"]["accepted"] == 1
        send(server, "b")
        second = reader.next()
        assert (second["fresh"], get_ids(second["arrivals"])) == (False, ["b"])
        (request,) = second["requests"]
        assert request["headers"]["x-api-key"] == "wrk_…"
        assert "body" not in request


def test_a_reader_resumes_where_it_stopped(server: LocalServer) -> None:
    with reading(server) as reader:
        send(server, "a")
        reader.until(1)
    send(server, "b", "c")
    for query, last in (("", reader.last), (f"?last={reader.last}", None)):
        with reading(server, query, last) as again:
            message = again.next()
            assert (message["fresh"], get_ids(message["arrivals"])) == (False, ["b", "c"])


def test_a_reader_of_another_epoch_starts_over(server: LocalServer) -> None:
    send(server, "a")
    for last in ("0123abcd.7.7", "nonsense"):
        with reading(server, last=last) as reader:
            message = reader.next()
            assert (message["fresh"], get_ids(message["arrivals"])) == (True, ["a"])


def test_a_reset_makes_every_reader_start_over(server: LocalServer) -> None:
    send(server, "a")
    with reading(server) as reader:
        reader.until(1)
        server.reset()
        message = reader.next()
        assert (message["fresh"], message["arrivals"]) == (True, [])
        assert message["summary"]["accepted"] == 0
        send(server, "a")
        assert get_ids(reader.until(1)) == ["a"]


def test_a_change_of_faults_is_sent(server: LocalServer) -> None:
    with reading(server) as reader:
        assert reader.next()["faults"] == []
        server.set_faults(faults.status(503))
        assert [fault["code"] for fault in reader.next()["faults"]] == [503]


def test_many_arrivals_are_sent_in_several_messages_and_in_order(server: LocalServer) -> None:
    for part in range(3):
        send(server, *(f"{part}-{number}" for number in range(300)))
    with reading(server) as reader:
        first = reader.next()
        assert (len(first["arrivals"]), first["more"]) == (200, True)
        rest = reader.until(700)
    assert [one["seq"] for one in first["arrivals"] + rest] == list(range(1, 901))


def test_a_reader_that_was_away_too_long_learns_how_much_it_missed() -> None:
    with LocalServer(keep=5, clock=lambda: NOW) as server:
        with reading(server) as reader:
            send(server, "a")
            reader.until(1)
        send(server, *(f"b{number}" for number in range(9)))
        with reading(server, last=reader.last) as again:
            message = again.next()
    assert (message["fresh"], message["missed"]) == (False, 4)
    assert get_ids(message["arrivals"]) == ["b4", "b5", "b6", "b7", "b8"]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("?recent=2", ["c", "d"]),
        ("?recent=0", []),
        ("?recent=9", ["a", "b", "c", "d"]),
        ("?user=user_2&recent=1", ["c"]),
        (f"?q={quote('user:user_2')}", ["b", "c"]),
        ("?type=trial_*&status=accepted&kind=event", ["a", "b", "c", "d"]),
    ],
)
def test_a_stream_is_filtered_and_begins_with_the_latest(
    server: LocalServer, query: str, expected: list[str]
) -> None:
    send(server, "a")
    send(server, "b", "c", external_user_id="user_2")
    send(server, "d")
    with reading(server, query) as reader:
        assert get_ids(reader.next()["arrivals"]) == expected


@pytest.mark.parametrize("query", ["?q=colour:red", "?colour=red", "?recent=x"])
def test_a_wrong_call_is_refused(server: LocalServer, query: str) -> None:
    status, answer = call(server, "GET", f"/_dev/stream{query}")
    assert (status, answer["error"]) == (400, "bad_call")


# What can just be read; the reader of PyPy takes more of the stack for a level.
LEVELS = 900 if sys.implementation.name == "cpython" else 450
DEEP = b'{"events":[{"a":' + b"[" * LEVELS + b"]" * LEVELS + b"}]}"


@pytest.mark.parametrize(
    ("body", "cut"),
    [
        (b'{"events":[{"a":1e999}]}', True),
        (DEEP, None),
        (b'{"events":[{"external_user_id":"\\ud800"}]}', False),
        (b'{"events":[{"external_user_id":"' + b"x" * 50_000 + b'"}]}', True),
        (b'{"events":[null]}', False),
    ],
)
def test_no_payload_ends_a_stream(server: LocalServer, body: bytes, cut: bool | None) -> None:
    assert post(server, BATCH, body)[0] == 202
    send(server, "b")
    with reading(server) as reader:
        odd, fine = reader.until(2)
    assert cut is None or odd["cut"] is cut
    assert (odd["body"] is None) == (odd["cut"] or body.endswith(b"[null]}"))
    assert len(json.dumps(odd)) < 40_000
    assert fine["message_id"] == "b"
    status, answer = call(server, "GET", "/_dev/arrival?seq=1")
    assert status == 200
    assert answer["raw"] == body.decode()[len('{"events":[') : -len("]}")]


def test_an_arrival_is_shown_as_it_was_sent_with_its_request(server: LocalServer) -> None:
    body = b'{"events": [' + json.dumps(event("a")).encode() + b', {"amount" : 19.90}]}'
    post(server, BATCH, body)
    status, answer = call(server, "GET", "/_dev/arrival?seq=2")
    assert (status, answer["raw"]) == (200, '{"amount" : 19.90}')
    assert answer["request"]["headers"]["x-api-key"] == "wrk_…"
    assert answer["arrival"]["problems"][0]["fix"].startswith("Remove amount,")
    assert call(server, "GET", "/_dev/arrival?seq=3")[0] == 404
    post(server, "/v1/identify", b' {"external_user_id": "u"}')
    assert call(server, "GET", "/_dev/arrival?seq=3")[1]["raw"] == ' {"external_user_id": "u"}'


@pytest.fixture
def single(monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalServer]:
    """Start a server that allows one stream."""
    monkeypatch.setattr(_stream, "MAX_STREAMS", 1)
    with LocalServer(clock=lambda: NOW) as started:
        yield started


def test_too_many_streams_are_refused_until_one_ends(
    single: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_stream, "_BEAT_INTERVAL", 0.02)
    with reading(single) as reader:
        reader.next()
        assert call(single, "GET", "/_dev/stream")[0] == 503
    wait_for_a_free_stream(single)  # the server notices with a later beat


def wait_for_a_free_stream(server: LocalServer) -> None:
    deadline = time.monotonic() + 30
    while _is_busy(server):
        assert time.monotonic() < deadline


def _is_busy(server: LocalServer) -> bool:
    connection = HTTPConnection("127.0.0.1", server.port, timeout=30)
    connection.request("GET", "/_dev/stream")
    try:
        return connection.getresponse().status == 503
    finally:
        connection.close()


def test_beats_show_that_the_server_is_alive(
    server: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_stream, "_BEAT_INTERVAL", 0.01)
    with reading(server) as reader:
        assert reader.next("beat") == {}
        assert reader.next("beat") == {}


def test_a_reader_that_takes_nothing_delays_no_request(
    single: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_stream, "SEND_TIMEOUT", 0.2)
    with socket.create_connection(("127.0.0.1", single.port), timeout=60) as idle:
        idle.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        idle.sendall(b"GET /_dev/stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert idle.recv(1)  # it has the one stream
        for number in range(20):  # some megabytes, more than the sockets take
            changes = {"properties": {"text": "x" * 10_000}}
            send(single, *(f"{number}-{part}" for part in range(40)), **changes)
        assert single.summary()["accepted"] == 800
        wait_for_a_free_stream(single)  # it was disconnected


def test_closing_the_server_ends_its_streams(server: LocalServer) -> None:
    with reading(server) as reader:
        reader.next()
        server.close()
        assert reader.next() is None


@pytest.mark.parametrize("path", ["/_dev/stream", "/_dev/arrivals", "/"])
@pytest.mark.parametrize("changes", [{"Origin": "http://evil.example"}, {"Host": "evil.example"}])
def test_other_sites_may_not_read(server: LocalServer, path: str, changes: dict[str, str]) -> None:
    assert call(server, "GET", path, headers=changes)[0] == 403


def test_a_cursor_is_parsed_as_it_is_written() -> None:
    cursor = Cursor("0a1b", 12, 34)
    assert Cursor.parse(str(cursor)) == cursor
    for text in ("", "x.1.2", "a.1", "a.1.-2", "a.1.2\n", f"a.{'9' * 30}.1"):
        assert Cursor.parse(text) is None
