"""What one answer says about the key, the path and the clock."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from typing import TYPE_CHECKING

import pytest

from tests.checkup.conftest import by_name, make_config
from tests.http.raw_server import RawServer, answer, answers
from whisperr import Answer, Request
from whisperr._checkup.hints import HINTS
from whisperr._checkup.service import inspect_clock, inspect_service
from whisperr._contract import Misconfigured, is_key_accepted
from whisperr.dev import LocalServer, faults

if TYPE_CHECKING:
    from whisperr._checkup.findings import Finding

NOW = 1_780_000_000.0
DAY = 86_400.0


class Replies:
    """A transport that returns or raises the same for every request."""

    def __init__(self, reply: Answer | Exception) -> None:
        self._reply = reply

    def send(self, request: Request, timeout: float) -> Answer:
        if isinstance(self._reply, Exception):
            raise self._reply
        return self._reply

    def close(self) -> None:
        raise AssertionError("it is the caller's")


def ask(reply: Answer | Exception) -> dict[str, Finding]:
    return by_name(inspect_service(make_config(transport=Replies(reply)), reached=True))


@pytest.mark.parametrize(
    ("status", "good"),
    [(400, True), (202, True), (401, False), (403, False), (404, None), (429, None), (503, None)],
)
def test_the_status_of_an_answer_tells_whether_the_key_is_accepted(
    status: int, good: bool | None
) -> None:
    assert is_key_accepted(status) is good


def test_a_refused_key_is_wrong() -> None:
    with LocalServer(api_key="wrk_other") as server:
        config = make_config(base_url=server.url)
        found = by_name(inspect_service(config, reached=True))
    assert found["key"].state == "wrong"
    assert found["key"].text == "refused (HTTP 401, invalid_api_key)"
    assert found["round trip"].state == "ok"


def test_the_key_is_accepted_by_what_answers() -> None:
    body = b'{"error":"no_events"}'
    assert ask(Answer(400, {}, body))["key"].text == (
        "accepted (HTTP 400, no_events for a request without events)"
    )
    with LocalServer() as server:
        config = make_config(base_url=server.url)
        found = by_name(inspect_service(config, reached=True))
    assert found["key"].text == "accepted by whisperr dev, not the service (HTTP 400, no_events)"


@pytest.mark.parametrize(
    ("reply", "key", "code"),
    [
        (Answer(401, {}, b'{"error":"invalid_api_key"}'), "wrong", "key_refused"),
        (Answer(403), "wrong", "key_refused"),
        (Answer(403, {}, b"<html>no</html>"), "wrong", "key_blocked"),
    ],
)
def test_a_key_that_something_else_refuses_is_told_apart(
    reply: Answer, key: str, code: str
) -> None:
    finding = ask(reply)["key"]
    assert (finding.state, finding.hint) == (key, HINTS[code].fix)


@pytest.mark.parametrize(
    ("reply", "state", "code"),
    [
        (Answer(404, {}, b'{"error":"not_found"}'), "wrong", "path_wrong"),
        (Answer(405), "wrong", "path_wrong"),
        (Answer(500), "wrong", "service_fails"),
        (Answer(503, {}, b'{"error":"overloaded"}'), "wrong", "service_fails"),
        (Answer(429), "doubtful", "too_many"),
        (Answer(302, {"location": "https://x.example/"}), "wrong", "redirected"),
        (Answer(200, {}, b"<html>welcome</html>"), "wrong", "not_the_service"),
        (Answer(200, {}, b"[]"), "wrong", "not_the_service"),
        (
            Answer(400, {}, b"The plain HTTP request was sent to HTTPS port"),
            "wrong",
            "not_the_service",
        ),
        (Answer(202, {}, b"[" * 100_000), "wrong", "not_the_service"),
    ],
)
def test_an_answer_that_says_nothing_about_the_key_is_a_trouble_of_the_round_trip(
    reply: Answer, state: str, code: str
) -> None:
    found = ask(reply)
    assert found["key"].state == "doubtful"
    assert found["key"].text.endswith("says nothing about the key")
    assert (found["round trip"].state, found["round trip"].hint) == (state, HINTS[code].fix)


@pytest.mark.parametrize("body", [b"<html>501</html>", b"upstream connect error", b"[]"])
@pytest.mark.parametrize(
    ("url", "address", "authors"),
    [
        ("http://127.0.0.1:8722", "127.0.0.1:8722", "the service or of whisperr dev"),
        ("https://[::1]:8722/x", "[::1]:8722", "the service or of whisperr dev"),
        ("https://api.whisperr.net", "api.whisperr.net", "the service"),
    ],
)
def test_a_failure_in_other_words_than_those_of_the_service_is_of_a_gateway_or_another_program(
    body: bytes, url: str, address: str, authors: str
) -> None:
    transport = Replies(Answer(501, {}, body))
    config = make_config(base_url=url, transport=transport)
    finding = by_name(inspect_service(config, reached=True))["round trip"]
    assert finding.text.endswith(f" ms: not an answer of {authors}")
    assert finding.text.startswith("HTTP 501 after ")
    assert finding.hint == HINTS["gateway_fails"].fix.format(address=address)


@pytest.mark.parametrize(
    ("location", "shown"),
    [
        ("https://ada:secret@other.example:8443/a?key=secret", " to https://other.example:8443,"),
        ("/secret", "a redirect, not"),
        ("http://[", "a redirect, not"),
        ("http://x:99999/", "a redirect, not"),
        ("", "a redirect, not"),
    ],
)
def test_a_redirect_is_shown_with_its_host_only(location: str, shown: str) -> None:
    text = ask(Answer(308, {"location": location}))["round trip"].text
    assert shown in text
    assert "secret" not in text


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (TimeoutError("late"), "no_answer", "no answer: TimeoutError: late"),
        (Misconfigured("the proxy refused"), "proxy_refuses", "no answer: the proxy refused"),
        (KeyError("wrk_test"), "no_answer", "no answer: KeyError"),
    ],
)
def test_no_answer_is_wrong_and_the_rest_is_skipped(error: Exception, code: str, text: str) -> None:
    found = ask(error)
    assert found["key"] == ("key", "skipped", "not checked: no answer", "")
    assert found["round trip"] == ("round trip", "wrong", text, HINTS[code].fix)
    assert found["clock"].state == "skipped"
    assert list(found) == ["key", "round trip", "clock"]


def test_without_a_connection_nothing_is_sent() -> None:
    with LocalServer() as server:
        found = by_name(inspect_service(make_config(base_url=server.url), reached=False))
        assert server.requests() == []
    assert {one.state for one in found.values()} == {"skipped"}
    assert list(found) == ["key", "round trip", "clock"]


def test_a_server_that_accepts_connections_and_never_answers_is_wrong_after_the_timeout() -> None:
    with LocalServer(faults=[faults.hang()]) as server:
        config = make_config(base_url=server.url, request_timeout=0.3)
        found = by_name(inspect_service(config, reached=True))
        server.set_faults()
    assert found["key"].state == "skipped"
    address = server.url.removeprefix("http://")
    assert found["round trip"].text == f"no answer from {address} within 0.3 s"


def test_the_round_trip_is_measured() -> None:
    with LocalServer(faults=[faults.latency(0.3)]) as server:
        found = by_name(inspect_service(make_config(base_url=server.url), reached=True))
    assert int(found["round trip"].text.split()[0]) >= 300


class TestClock:
    @pytest.mark.parametrize(
        ("ahead", "state", "text"),
        [
            (0, "ok", "0 s"),
            (9, "ok", "ahead of the server's"),
            (60, "doubtful", "60 s ahead of the server's: events get their time from this clock"),
            (-60, "doubtful", "60 s behind the server's: events get their time from this clock"),
            (299, "doubtful", "ahead"),
            (301, "wrong", "ahead of the server's: the server refuses events from the future"),
            (-301, "wrong", "behind the server's: the server stores events as older"),
            (
                40 * DAY,
                "wrong",
                "40 days ahead of the server's: the server refuses events from the future",
            ),
            (-29 * DAY, "wrong", "29 days behind the server's: the server stores events as older"),
            (
                -40 * DAY,
                "wrong",
                "40 days behind the server's: the server refuses events as too old",
            ),
            (-56 * 365 * DAY, "wrong", "behind"),
        ],
    )
    def test_both_directions_are_wrong_beyond_five_minutes(
        self, ahead: float, state: str, text: str
    ) -> None:
        date = format_datetime(datetime.fromtimestamp(NOW - ahead, timezone.utc), usegmt=True)
        finding = inspect_clock(date, NOW + 0.5)
        assert (finding.state, text in finding.text) == (state, True)
        assert bool(finding.hint) is (state != "ok")

    @pytest.mark.parametrize(
        "date",
        [
            "",
            "soon",
            "Mon, 99 Xyz 99999 99:99:99 GMT",
            "Fri, 31 Dec 9999 23:59:59 -2359",
            "Fri, 31 Dec 9999 23:59:59 GMT",
            "Sun, 06 Nov 1700 08:49:37 GMT",
        ],
    )
    def test_a_date_that_no_clock_has_is_not_believed(self, date: str) -> None:
        assert inspect_clock(date, NOW).state == "skipped"

    def test_a_date_without_a_zone_is_utc(self, monkeypatch: pytest.MonkeyPatch) -> None:
        date = datetime.fromtimestamp(NOW, timezone.utc).strftime("%a %b %d %H:%M:%S %Y")
        assert inspect_clock(date, NOW).state == "ok"

    def test_it_is_compared_through_the_whole_request(self) -> None:
        date = format_datetime(datetime.now(timezone.utc) + timedelta(days=40), usegmt=True)
        reply = answer("400 Bad Request", b'{"error":"no_events"}', f"Date: {date}")
        with RawServer(answers(reply)) as raw:
            found = by_name(inspect_service(make_config(base_url=raw.url), reached=True))
        assert (
            found["clock"].text
            == "40 days behind the server's: the server refuses events as too old"
        )
        assert found["key"].state == "ok"
