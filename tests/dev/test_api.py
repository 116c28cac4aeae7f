"""The API under /_dev/: what arrived, how to wait for it, which faults to inject."""

from __future__ import annotations

from http.client import HTTPConnection
from threading import Thread
from typing import Any

import pytest

from tests.dev.wire import BATCH, HEADERS, call, event, post
from whisperr.dev import LocalServer, faults


def get(server: LocalServer, path: str) -> Any:
    status, answer = call(server, "GET", f"/_dev/{path}")
    assert status == 200, answer
    return answer


def send(server: LocalServer, *events: dict[str, Any]) -> None:
    assert post(server, BATCH, {"events": list(events)})[0] == 202


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ("", ["a", "b", "c", None]),
        ("?user=user_2", ["b"]),
        ("?type=payment_*", ["c"]),
        ("?kind=identify", [None]),
        ("?status=accepted&kind=event", ["a", "b", "c"]),
        ("?after=2", ["c", None]),
        ("?limit=2", ["c", None]),
        ("?q=type:payment_*", ["c"]),
        ("?q=-user:user_1", ["b"]),
    ],
)
def test_arrivals_are_listed_and_filtered(
    server: LocalServer, query: str, ids: list[str | None]
) -> None:
    send(
        server,
        event("a"),
        event("b", external_user_id="user_2"),
        event("c", event_type="payment_failed"),
    )
    post(server, "/v1/identify", {"external_user_id": "user_1"})
    assert [a["message_id"] for a in get(server, f"arrivals{query}")["arrivals"]] == ids


def test_a_refused_arrival_shows_its_problems(server: LocalServer) -> None:
    send(server, event("a", properties=[]))
    (arrival,) = get(server, "arrivals?status=refused")["arrivals"]
    (problem,) = arrival["problems"]
    assert problem == {
        "pointer": "/properties",
        "found": "[]",
        "expected": "an object, {} if there are none",
        "fix": "Send an object; if there are no properties, send {}.",
    }


def test_the_summary_counts_everything(server: LocalServer) -> None:
    send(server, event("a"), event("a"), event("b", context={}))
    server.set_faults(faults.status(503, times=1))
    post(server, "/v1/identify", {"external_user_id": "u"})
    post(server, "/v1/identify", {"external_user_id": "u"})
    assert get(server, "summary") == {
        "accepted": 2,
        "duplicates": 1,
        "refused": 1,
        "events": 3,
        "identifies": 1,
        "requests": 3,
        "batches": 1,
        "answers": {"202": 2, "503": 1},
        "faults": {"status": 1},
        "types": {"trial_started": 3},
        "agents": {"whisperr-python/0": 3},
        "last": 4,
    }


def test_requests_are_shown_with_the_key_masked(server: LocalServer) -> None:
    send(server, event("a"))
    (request,) = get(server, "requests")["requests"]
    assert request["headers"]["x-api-key"] == "wrk_…"
    assert '"$message_id": "a"' in request["body"]
    assert get(server, "requests?after=1") == {"requests": []}


def test_a_wait_ends_when_enough_arrived(server: LocalServer) -> None:
    answers: list[Any] = []
    waiting = Thread(target=lambda: answers.append(get(server, "wait?count=2&user=user_1")))
    waiting.start()
    send(server, event("a"))
    send(server, event("b"))
    waiting.join(30)
    assert [a["message_id"] for a in answers[0]["arrivals"]] == ["a", "b"]
    assert answers[0]["reached"] is True


def test_a_wait_reports_its_timeout(server: LocalServer) -> None:
    assert get(server, "wait?timeout=0.01") == {"reached": False, "arrivals": []}


def test_faults_are_set_and_shown(server: LocalServer) -> None:
    assert get(server, "faults") == {"faults": []}
    status, answer = call(server, "PUT", "/_dev/faults", [{"kind": "status", "code": 429}])
    assert (status, answer) == (200, get(server, "faults"))
    assert post(server, BATCH, {"events": [event("a")]})[0] == 429
    assert call(server, "PUT", "/_dev/faults", [])[0] == 200
    assert post(server, BATCH, {"events": [event("a")]})[0] == 202


def test_a_reset_also_forgets_the_message_ids(server: LocalServer) -> None:
    send(server, event("a"))
    assert call(server, "POST", "/_dev/reset")[0] == 200
    send(server, event("a"))
    assert [a.status for a in server.arrivals()] == ["accepted"]


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "nothing", None, 404),
        ("GET", "reset", None, 405),
        ("PUT", "summary", None, 405),
        ("GET", "arrivals?colour=red", None, 400),
        ("GET", "arrivals?after=x", None, 400),
        ("GET", "arrivals?q=colour:red", None, 400),
        ("GET", "arrival", None, 404),
        ("PUT", "faults", {"kind": "hang"}, 400),
        ("PUT", "faults", [{"kind": "boom"}], 400),
        ("PUT", "faults", [{"kind": "status", "code": "x"}], 400),
        ("PUT", "faults", b"[", 400),
    ],
)
def test_a_wrong_call_is_refused_with_the_reason(
    server: LocalServer, method: str, path: str, body: object, status: int
) -> None:
    answered, answer = call(server, method, f"/_dev/{path}", body)
    assert answered == status
    assert answer["message"]


def test_pages_of_other_origins_may_not_write(server: LocalServer) -> None:
    headers = {"Origin": "http://evil.example"}
    assert call(server, "POST", "/_dev/reset", headers=headers)[0] == 403
    own = {"Origin": server.url}
    assert call(server, "POST", "/_dev/reset", headers=own)[0] == 200


@pytest.mark.parametrize("path", ["arrivals", "arrival", "requests", "request", "wait", "stream"])
@pytest.mark.parametrize(
    "name", ["after", "before", "count", "number", "seq", "recent", "limit", "timeout"]
)
@pytest.mark.parametrize(
    "number",
    ["nan", "-nan", "inf", "-inf", "1e999", "-1", "-1e9", "9" * 5_000, "1_0", "", "%D9%A3", "x%0A"],
)
def test_a_number_that_is_not_finite_or_not_in_its_bounds_is_refused(
    server: LocalServer, path: str, name: str, number: str
) -> None:
    status, answer = call(server, "GET", f"/_dev/{path}?{name}={number}")
    assert (status, answer["error"]) == (400, "bad_call")
    assert answer["message"].startswith(f"{name}=")
    assert "must be a" in answer["message"]
    assert answer["message"].isprintable()
    assert len(answer["message"]) < 200


def test_a_longer_wait_than_any_is_a_wait(server: LocalServer) -> None:
    send(server, event("a"))
    assert get(server, "wait?timeout=3600")["reached"]
    assert [one.message_id for one in server.wait(timeout=float("inf"))] == ["a"]


def test_a_wait_for_what_is_no_number_is_refused(server: LocalServer) -> None:
    with pytest.raises(ValueError, match="timeout: must be a number of seconds, got nan"):
        server.wait(timeout=float("nan"))


SITES = ["cross-site", "same-site", "Cross-Site", "anything"]


@pytest.mark.parametrize("site", SITES)
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/_dev/wait?timeout=60"),
        ("GET", "/_dev/arrivals"),
        ("GET", "/_dev/stream"),
        ("GET", "/_dev/page/page.js"),
        ("POST", "/_dev/reset"),
        ("PUT", "/_dev/faults"),
        ("POST", BATCH),
        ("GET", "/"),
    ],
)
def test_no_request_of_another_site_is_answered_even_without_an_origin(
    server: LocalServer, site: str, method: str, path: str
) -> None:
    send(server, event("a"))
    for kind in ("image", "iframe", "script", "empty"):
        headers = {**HEADERS, "Sec-Fetch-Site": site, "Sec-Fetch-Dest": kind}
        status, answer = call(server, method, path, [], headers)
        assert (status, answer["error"]) == (403, "foreign_site")
    assert len(server.arrivals()) == len(server.requests()) == 1


@pytest.mark.parametrize("site", ["same-origin", "none"])
def test_the_page_itself_is_answered(server: LocalServer, site: str) -> None:
    headers = {"Sec-Fetch-Site": site, "Sec-Fetch-Dest": "empty"}
    assert call(server, "GET", "/_dev/summary", None, headers)[0] == 200


def test_a_link_on_another_site_opens_the_page(server: LocalServer) -> None:
    connection = HTTPConnection("127.0.0.1", server.port, timeout=30)
    headers = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Dest": "document"}
    connection.request("GET", "/", headers=headers)
    assert connection.getresponse().status == 200
    connection.close()
