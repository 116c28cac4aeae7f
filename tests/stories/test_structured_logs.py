"""What the records of a client say in their fields, for structured logging."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest

from tests.http.raw_server import RawServer, answer, answers
from whisperr import Answer
from whisperr.dev import faults
from whisperr.testing import MemoryTransport

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.stories.conftest import MakeClient
    from whisperr import Whisperr, WhisperrError
    from whisperr.dev import LocalServer

    Records = Callable[[], list[dict[str, Any]]]

PREFIX = "whisperr_"


@pytest.fixture
def records(caplog: pytest.LogCaptureFixture) -> Iterator[Records]:
    """Yield a function that returns the fields of the records so far, without the prefix."""

    def get() -> list[dict[str, Any]]:
        return [
            {
                name.removeprefix(PREFIX): value
                for name, value in vars(record).items()
                if name.startswith(PREFIX)
            }
            for record in caplog.records
            if record.name == "whisperr"
        ]

    with caplog.at_level(logging.INFO, "whisperr"):
        yield get


def track(client: Whisperr, count: int = 1) -> None:
    for _ in range(count):
        client.track("ada", "seen", {"email": "ada@example.com"})


def test_a_refused_batch_has_its_reason_its_status_and_the_host(
    make_client: MakeClient, server: LocalServer, records: Records
) -> None:
    server.set_faults(faults.status(410))
    client = make_client()
    track(client, 3)
    client.shutdown(10)
    assert records() == [
        {
            "type": "dropped",
            "reason": "rejected",
            "count": 3,
            "status": 410,
            "host": f"127.0.0.1:{server.port}",
        }
    ]


def test_an_outage_has_a_host_and_the_recovery_has_the_same(
    make_client: MakeClient,
    server: LocalServer,
    records: Records,
    errors: list[WhisperrError],
) -> None:
    server.set_faults(faults.status(503))
    client = make_client()
    track(client, 2)
    assert client.flush(10) is False
    server.set_faults()
    assert client.flush(10) is True
    host = {"host": f"127.0.0.1:{server.port}"}
    failed, recovered = records()
    assert failed == {"type": "retry_exhausted", "count": 2, "status": 503, **host}
    assert recovered == host
    assert [error.type for error in errors] == ["retry_exhausted"]


def test_what_an_outage_loses_has_the_host_that_its_text_names(
    make_client: MakeClient, server: LocalServer, records: Records
) -> None:
    server.set_faults(faults.status(503))
    client = make_client()
    track(client)
    client.shutdown(10)
    (lost,) = records()
    host = f"127.0.0.1:{server.port}"
    assert lost == {"type": "dropped", "reason": "shutdown", "count": 1, "host": host}


def test_a_key_that_the_server_refuses(
    make_client: MakeClient, server: LocalServer, records: Records
) -> None:
    server.set_faults(faults.wrong_key())
    client = make_client()
    track(client)
    client.flush(10)
    (record, *_) = records()
    host = f"127.0.0.1:{server.port}"
    assert record == {"type": "auth", "count": 1, "status": 401, "host": host}


def test_an_answer_that_cannot_be_read_has_the_size_of_its_batch(
    make_client: MakeClient, records: Records
) -> None:
    payload = answer("202 OK", b"\x8b\x0d\x80", "Content-Encoding: br")
    with RawServer(answers(payload)) as server:
        client = make_client(base_url=server.url)
        track(client, 2)
        client.shutdown(10)
    assert records() == [{"count": 2, "status": 202, "host": f"127.0.0.1:{server.port}"}]


def test_bad_input_has_no_host_and_no_status(make_client: MakeClient, records: Records) -> None:
    client = make_client()
    client.track("ada", "Payment Failed")
    client.shutdown(10)
    assert records() == [{"type": "dropped", "reason": "invalid", "count": 1}]


def test_a_custom_transport_has_no_host(make_client: MakeClient, records: Records) -> None:
    client = make_client(transport=MemoryTransport(Answer(410)))
    track(client)
    client.shutdown(10)
    assert records() == [{"type": "dropped", "reason": "rejected", "count": 1, "status": 410}]


def test_the_debug_option_counts_each_request(
    make_client: MakeClient, server: LocalServer, caplog: pytest.LogCaptureFixture, records: Records
) -> None:
    caplog.set_level(logging.DEBUG, "whisperr")
    client = make_client(debug=True)
    track(client, 2)
    client.shutdown(10)
    assert {"count": 2, "status": 202, "host": f"127.0.0.1:{server.port}"} in records()


def test_no_field_holds_a_payload_or_the_key(
    make_client: MakeClient, server: LocalServer, records: Records
) -> None:
    server.set_faults(faults.status(410))
    client = make_client()
    track(client)
    client.track("ada@example.com", "Ada Lovelace <ada@example.com>")
    client.shutdown(10)
    assert len(records()) == 2
    assert "ada" not in repr(records())
    assert "wrk_test" not in repr(records())
