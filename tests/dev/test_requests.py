"""Every request is recorded: its answer, why it was refused, how long it took, its events."""

from __future__ import annotations

import socket
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import pytest

from tests.dev.wire import BATCH, HEADERS, call, event, post
from whisperr.dev import Fault, LocalServer, faults

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NOW = datetime(2026, 6, 14, 12, 0, 1, tzinfo=timezone.utc).timestamp()


@pytest.fixture
def server() -> Iterator[LocalServer]:
    with LocalServer(clock=lambda: NOW, api_key="wrk_test", max_body_bytes=10_000) as started:
        yield started


def get(server: LocalServer, path: str) -> Any:
    status, answer = call(server, "GET", f"/_dev/{path}")
    assert status == 200, answer
    return answer


def get_last(server: LocalServer) -> Any:
    return get(server, "requests")["requests"][-1]


def send_bytes(server: LocalServer, data: bytes) -> bytes:
    """Send bytes on a connection of their own, and nothing more; return the answer."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as plain:
        plain.sendall(data)
        plain.shutdown(socket.SHUT_WR)
        answer = b""
        while part := plain.recv(10_000):
            answer += part
    return answer


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"X-API-Key": None}, (401, "invalid_api_key", "no key; send the server key in X-API-Key")),
        (
            {"X-API-Key": "wrk_other"},
            (
                401,
                "invalid_api_key",
                "not the key that whisperr dev was started with (--key)",
            ),
        ),
        (
            {"User-Agent": None},
            (403, "agent_refused", "the default User-Agent is refused; send your own"),
        ),
        ({"Content-Type": None}, (415, "content_type", "send Content-Type: application/json")),
        (
            {"Host": "machine:8722"},
            (
                403,
                "host_not_loopback",
                "the host 'machine:8722' is not a loopback address; open the local server by one",
            ),
        ),
    ],
)
def test_a_refused_request_has_its_status_reason_and_fix(
    server: LocalServer, changes: dict[str, str | None], expected: tuple[int, str, str]
) -> None:
    post(server, BATCH, {"events": [event("a")]}, **changes)
    request = get_last(server)
    assert (request["status"], request["error"], request["reason"]) == expected
    assert request["fix"].endswith(".")
    assert request["accepted"] == request["refused"] == 0
    assert (request["method"], request["path"]) == ("POST", BATCH)
    assert request["duration"] >= 0


@pytest.mark.parametrize(
    ("body", "error", "reason"),
    [
        (b"{", "invalid_json", "invalid JSON"),
        ({"events": []}, "no_events", "/events: []; expected a list of 1 to 500 events"),
        (b"x" * 10_001, "too_large", "a body of 10001 bytes; at most 10000 are allowed"),
    ],
)
def test_a_body_that_is_refused_as_a_whole_has_its_reason(
    server: LocalServer, body: object, error: str, reason: str
) -> None:
    post(server, BATCH, body)
    request = get_last(server)
    assert request["error"] == error
    assert reason in request["reason"]


def test_other_paths_and_methods_are_recorded_too(server: LocalServer) -> None:
    post(server, "/v1/event", {})
    assert (get_last(server)["status"], get_last(server)["error"]) == (404, "not_found")
    for method in ("GET", "DELETE"):
        call(server, method, BATCH)
        assert (get_last(server)["status"], get_last(server)["error"]) == (405, "method")
        assert get_last(server)["method"] == method
    send_bytes(server, b"PATCH /v1/x?y HTTP/1.1\r\nHost: localhost\r\n\r\n")
    request = get_last(server)
    assert (request["method"], request["path"], request["status"]) == ("PATCH", "/v1/x", 501)


def test_a_request_that_ends_early_is_recorded_with_what_arrived(server: LocalServer) -> None:
    head = f"POST {BATCH} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n"
    assert send_bytes(server, head.encode() + b"{}") == b""
    request = get_last(server)
    assert (request["status"], request["error"]) == (None, "disconnected")
    assert request["reason"] == "the client disconnected after 2 of 9 bytes"


def test_a_client_that_speaks_tls_is_recorded_and_refused_at_once(
    server: LocalServer,
) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as plain:
        plain.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
        assert plain.recv(100).startswith(b"HTTP/1.1 400 ")
    request = get_last(server)
    assert (request["method"], request["status"], request["error"]) == ("", None, "tls")
    assert "http:// in place of https://" in request["fix"]


def test_what_is_no_http_is_recorded_once_a_second(
    server: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("whisperr.dev._web.http._UNREAD_INTERVAL", 3_600.0)
    for _ in range(3):
        assert b"400" in send_bytes(server, b"hello <script>\x1b[31m\r\n\r\n")
    (request,) = get(server, "requests")["requests"]
    assert (request["status"], request["error"]) == (400, "not_http")


@pytest.mark.parametrize(
    "changes",
    [
        {"Origin": "http://evil.example"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Host": "evil.example", "Origin": "http://evil.example"},
        {"Host": "evil.example", "User-Agent": "Mozilla/5.0"},
    ],
)
def test_a_page_of_another_site_leaves_no_record(
    server: LocalServer, changes: dict[str, str]
) -> None:
    assert post(server, BATCH, {"events": [event("a")]}, **changes)[0] == 403
    assert get(server, "requests") == {"requests": []}


def test_what_a_browser_asks_for_by_itself_leaves_no_record(server: LocalServer) -> None:
    browser = {"User-Agent": "Mozilla/5.0", "Sec-Fetch-Site": "same-origin"}
    for path in ("/favicon.ico", "/.well-known/appspecific/com.chrome.devtools.json"):
        assert call(server, "GET", path, headers=browser)[0] == 405
    assert get(server, "requests") == {"requests": []}


def test_calls_of_the_api_leave_no_record(server: LocalServer) -> None:
    call(server, "PUT", "/_dev/faults", b"x" * 10_001)
    call(server, "PUT", "/_dev/faults", [], {"Host": "machine"})
    call(server, "GET", "/_dev/nothing")
    assert get(server, "requests") == {"requests": []}


def test_a_request_counts_what_became_of_its_events(server: LocalServer) -> None:
    post(server, BATCH, {"events": [event("a"), event("a"), event("b", properties=[])]})
    request = get_last(server)
    counts = {name: request[name] for name in ("events", "accepted", "duplicates", "refused")}
    assert counts == {"events": 3, "accepted": 1, "duplicates": 1, "refused": 1}
    assert (request["error"], request["reason"], request["fix"]) == (None, None, None)


@pytest.mark.parametrize(
    ("fault", "status", "reason"),
    [
        (faults.status(503), 503, "an injected fault"),
        (faults.cut(), None, "connection cut before anything was accepted"),
        (faults.lose_answer(), None, "accepted, but the answer was lost"),
    ],
)
def test_an_injected_fault_is_the_reason(
    server: LocalServer, fault: Fault, status: int | None, reason: str
) -> None:
    server.set_faults(fault)
    if status is None:
        with pytest.raises(ConnectionError):
            post(server, BATCH, {"events": [event("a"), event("b")]})
    else:
        post(server, BATCH, {"events": [event("a"), event("b")]})
    request = get_last(server)
    assert (request["status"], request["error"]) == (status, "injected_fault")
    assert reason in request["reason"]
    assert "Turn the fault off" in request["fix"]
    assert request["events"] == 2


def test_the_duration_includes_an_injected_delay(server: LocalServer) -> None:
    server.set_faults(faults.latency(0.05))
    post(server, BATCH, {"events": [event("a")]})
    assert get_last(server)["duration"] >= 0.04  # clocks of Windows go in steps


def test_one_request_is_shown_with_its_body_and_its_arrivals(server: LocalServer) -> None:
    post(server, "/v1/identify", {"external_user_id": "u"})
    post(server, BATCH, {"events": [event("a"), event("b")]})
    answer = get(server, "request?number=2")
    assert [arrival["message_id"] for arrival in answer["arrivals"]] == ["a", "b"]
    assert answer["request"]["number"] == 2
    assert '"$message_id": "a"' in answer["request"]["body"]
    assert answer["request"]["headers"]["x-api-key"] == "wrk_…"
    for number in ("0", "3"):
        assert call(server, "GET", f"/_dev/request?number={number}")[0] == 404


def test_arrivals_before_one_are_listed(server: LocalServer) -> None:
    post(server, BATCH, {"events": [event(name) for name in "abcd"]})
    found = get(server, "arrivals?before=4&limit=2")["arrivals"]
    assert [arrival["message_id"] for arrival in found] == ["b", "c"]
    assert [arrival.message_id for arrival in server.arrivals(before=2)] == ["a"]


def test_arrivals_of_a_request_are_found_by_the_filter(server: LocalServer) -> None:
    post(server, BATCH, {"events": [event("a")]})
    post(server, BATCH, {"events": [event("b")]})
    found = get(server, "arrivals?q=request:2")["arrivals"]
    assert [arrival["message_id"] for arrival in found] == ["b"]


def test_the_counts_are_numbers_from_the_first_request_on(server: LocalServer) -> None:
    post(server, BATCH, {"events": [event("a")]})
    summary = get(server, "summary")
    assert (summary["batches"], type(summary["batches"])) == (1, int)


def test_a_journal_keeps_reasons_and_counts(tmp_path: Path) -> None:
    store = tmp_path / "kept"
    with LocalServer(store=store, clock=lambda: NOW, api_key="wrk_test") as server:
        post(server, BATCH, {"events": [event("a"), event("b", properties=[])]})
        post(server, BATCH, {"events": [event("c")]}, **{"X-API-Key": "wrk_other"})
        before = get(server, "requests")
    with LocalServer(store=store, clock=lambda: NOW) as server:
        assert get(server, "requests") == before


def test_a_reason_is_cut(server: LocalServer) -> None:
    post(server, "/v1/identify", {"external_user_id": "u", "k" * 5_000: 1})
    assert len(get_last(server)["reason"]) == 500


def test_headers_with_a_key_are_masked_in_every_answer(server: LocalServer) -> None:
    headers = {**HEADERS, "Authorization": "Bearer wrk_other", "Cookie": "session=secret"}
    call(server, "POST", BATCH, {"events": []}, headers)
    text = str(get(server, "requests")) + str(get(server, "request?number=1"))
    assert "wrk_test" not in text
    assert "wrk_other" not in text
    assert "secret" not in text
