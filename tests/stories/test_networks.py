"""Networks and servers that answer strangely: what a user of the client sees of them."""

from __future__ import annotations

import gzip
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

import pytest

from tests.http.raw_server import OK, Connection, RawServer, answer, answers
from tests.http.test_connector import NAME, black_hole, resolve_to
from whisperr.dev import LocalServer, faults

if TYPE_CHECKING:
    from collections.abc import Callable

    from whisperr import Whisperr, WhisperrError

    MakeClient = Callable[..., Whisperr]


@pytest.mark.parametrize(("bad", "by_flush"), [(5, True), (20, False)])
def test_however_many_events_an_older_server_refuses_no_good_one_is_lost(
    server: LocalServer, make_client: MakeClient, bad: int, by_flush: bool
) -> None:
    server.set_faults(faults.legacy())
    client = make_client(flush_at=1000)
    now = datetime.now(timezone.utc)
    # An hour ahead passes here and not there: which of two clocks is wrong is unknown.
    ids = [
        client.track("u", "step", occurred_at=now + timedelta(hours=number % (500 // bad) == 7))
        for number in range(500)
    ]
    assert client.flush(30) if by_flush else client.shutdown(30)
    arrived = [arrival.message_id for arrival in server.arrivals(status="accepted")]
    assert arrived == [one for number, one in enumerate(ids) if number % (500 // bad) != 7]
    assert client.stats().dropped == {"rejected": bad}


def test_the_page_of_a_captive_portal_delivers_nothing_and_says_so(
    make_client: MakeClient, errors: list[WhisperrError]
) -> None:
    page = answer("200 OK", b"<html>Please sign in", "Content-Type: text/html")
    with RawServer(answers(page, OK)) as portal:
        client = make_client(base_url=portal.url)
        client.track("u", "step")
        assert not client.flush(10)
        assert (client.stats().delivered, client.stats().held) == (0, 1)
        assert "web page" in str(client.stats().problem)
        assert client.shutdown(10)
        assert client.stats().delivered == 1
    assert [(error.type, error.status) for error in errors] == [("retry_exhausted", 200)]


def test_an_encoded_answer_is_counted_as_it_says(
    make_client: MakeClient, errors: list[WhisperrError]
) -> None:
    body = gzip.compress(b'{"accepted":1,"rejected":3}')
    with RawServer(answers(answer("202 OK", body, "Content-Encoding: gzip"))) as server:
        client = make_client(base_url=server.url, flush_at=100)
        for _ in range(4):
            client.track("u", "step")
        client.shutdown(10)
    assert client.stats().delivered == 1
    assert client.stats().dropped == {"refused_in_batch": 3}
    assert [error.reason for error in errors] == ["refused_in_batch"]


def test_an_answer_that_cannot_be_read_is_told_once_and_loses_nothing(
    make_client: MakeClient, errors: list[WhisperrError], caplog: pytest.LogCaptureFixture
) -> None:
    payload = answer("202 OK", b"\x8b\x0d\x80", "Content-Encoding: br")
    with RawServer(answers(payload, payload, OK)) as server:
        client = make_client(base_url=server.url)
        for _ in range(2):
            client.track("u", "step")
            assert client.flush(10)
            assert "cannot be read" in str(client.stats().problem)
        client.track("u", "step")
        assert client.flush(10)
        assert client.stats().problem is None
        client.shutdown(10)
    assert client.stats().delivered == 3
    assert errors == []
    assert sum("cannot be read" in message for message in caplog.messages) == 1


def test_a_refusal_in_the_middle_of_a_large_body_is_heard(
    make_client: MakeClient, errors: list[WhisperrError]
) -> None:
    def refuse(connection: Connection) -> None:
        connection.read_request(body=False)
        connection.send(answer("413 Too Large"))
        connection.server.ended.wait(20)  # it keeps the connection open, and reads nothing

    with RawServer(refuse) as server:
        client = make_client(base_url=server.url)
        client.track("u", "note_written", {"text": "x" * (16 << 20)})
        client.flush(8)  # less than the time limit of a request
        assert client.stats().dropped == {"too_large": 1}
    assert [(error.reason, error.status) for error in errors] == [("too_large", 413)]


@pytest.mark.filterwarnings("ignore:base_url. http.// sends the key")
def test_an_address_that_does_not_answer_costs_a_moment(
    make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    with black_hole() as hole, RawServer(answers(OK)) as server:
        resolve_to(monkeypatch, hole.getsockname(), ("127.0.0.1", server.port))
        client = make_client(base_url=f"http://{NAME}:{server.port}")
        client.track("u", "step")
        assert client.flush(8)  # the time limit of a request is longer
        client.shutdown(10)


def test_a_proxy_that_cannot_be_used_is_reported_with_the_first_request(
    make_client: MakeClient, errors: list[WhisperrError], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5://ada:secret@127.0.0.1:1080")
    monkeypatch.delenv("NO_PROXY", raising=False)
    client = make_client(base_url=f"https://{NAME}", max_retries=6)
    client.track("u", "step")
    assert not client.flush(8)  # six retries take far longer
    (error,) = errors
    assert (error.type, error.count) == ("retry_exhausted", 1)
    assert "must have an http:// URL, not socks5://; 1 event kept, " in error.message
    assert "secret" not in error.message
    assert client.stats().held == 1
    client.shutdown(1)
