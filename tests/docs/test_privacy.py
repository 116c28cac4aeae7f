"""docs/trouble/privacy.md lists all that is sent; its code redacts; files are private."""

from __future__ import annotations

import json
import re
import stat
from typing import TYPE_CHECKING, Any

import pytest

from tests.docs.page import get_blocks, get_names, get_rows, get_text, paste
from tests.docs.pasted import run
from tests.http.raw_server import OK, RawServer, answers
from whisperr import Whisperr
from whisperr.dev import LocalServer
from whisperr.privacy import redact
from whisperr.testing import MemoryTransport

if TYPE_CHECKING:
    from pathlib import Path

    from tests.http.raw_server import RawRequest
    from whisperr import WhisperrError

PAGE = "docs/trouble/privacy.md"
KEY = "wrk_private_1234"
TABLES = get_rows(PAGE, "Everything that is sent")
KEYS = [get_names(row[0])[0] for row in TABLES if len(row) == 3]
HEADERS = [get_names(row[0])[0] for row in TABLES if len(row) == 2]
EVERYTHING = """
whisperr = Whisperr(app_version="2.3.0", test_mode=True)
whisperr.track("ada", "seen", {"n": 1})
whisperr.identify(
    "ada",
    traits={"plan": "pro"},
    channels=[{"channel": "email", "address": "ada@example.com"}],
    preferred_channel="email",
    anonymous_id="3f2c",
)
"""


@pytest.fixture
def requests(tmp_path: Path) -> list[RawRequest]:
    """Return what a process sends, byte by byte, that uses every option that adds something."""
    with RawServer(answers(OK, OK)) as server:
        program = f"from whisperr import Whisperr\n{EVERYTHING}"
        run(tmp_path, program, WHISPERR_BASE_URL=server.url, WHISPERR_API_KEY=KEY)
    return server.requests


def test_an_event_has_the_keys_of_the_page_and_no_others(requests: list[RawRequest]) -> None:
    (event,) = json.loads(requests[0].body)["events"]
    sent = {*event, *(f"context.{key}" for key in event["context"])}
    assert sent == set(KEYS)
    assert list(json.loads(requests[0].body)) == ["events"]
    assert event["properties"] == {"n": 1}


def test_an_identify_has_what_was_passed_and_nothing_more(requests: list[RawRequest]) -> None:
    assert json.loads(requests[1].body) == {
        "external_user_id": "ada",
        "anonymous_id": "3f2c",
        "traits": {"plan": "pro"},
        "preferred_channel": "email",
        "channels": [{"channel": "email", "address": "ada@example.com"}],
    }
    text = get_text(PAGE).split("An identify has")[1].split("The headers")[0]
    assert set(get_names(text)) == set(json.loads(requests[1].body))


def test_the_headers_are_those_of_the_page(requests: list[RawRequest]) -> None:
    rows = dict(row for row in TABLES if len(row) == 2)
    for request in requests:
        assert sorted(name for name, _ in request.headers) == sorted(HEADERS)
        for name, value in request.headers:
            fixed = get_names(rows[f"`{name}`"])
            assert not fixed or value.startswith(fixed[0]), name
        assert request.header("X-API-Key") == KEY


def test_the_code_of_the_page_redacts_and_vetoes(tmp_path: Path) -> None:
    with LocalServer() as server:
        program = paste(PAGE) + "print(whisperr.stats().not_accepted)\n"
        done = run(tmp_path, program, WHISPERR_BASE_URL=server.url, WHISPERR_API_KEY=KEY)
        first, second = server.arrivals()
    assert first.body["properties"] == json.loads(get_blocks(PAGE, "json")[0])
    assert second.body["properties"] == {"email": "[redacted]", "amount_cents": 4900}
    assert second.body["context"]["region"] == "eu"
    assert done.stdout == "{'vetoed': 1}\n"
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("argument", "before", "after"),
    [
        ('"email"', {"a": [{"email": 1}], "email": {}}, {"a": [{"email": "X"}], "email": "X"}),
        (
            '"customer.email"',
            {"customer": {"email": 1}, "email": 1},
            {"customer": {"email": "X"}, "email": 1},
        ),
        ('"customer.*"', {"customer": {"a": 1}, "b": 1}, {"customer": {"a": "X"}, "b": 1}),
        ('"*_token"', {"api_token": 1, "token": 1}, {"api_token": "X", "token": 1}),
        ('"*.ssn"', {"ssn": 1, "a": {"ssn": 1}, "n": 1}, {"ssn": "X", "a": {"ssn": "X"}, "n": 1}),
        ('"properties.ip"', {"ip": 1, "a": {"ip": 1}}, {"ip": "X", "a": {"ip": 1}}),
        ('"email"', {"User.Email": 1}, {"User.Email": "X"}),
        ("pattern=EMAIL", {"a": "to a@b.co", "n": 1}, {"a": "to X", "n": 1}),
    ],
)
def test_each_argument_of_redact_means_what_its_row_says(
    argument: str, before: dict[str, Any], after: dict[str, Any]
) -> None:
    rows = get_rows(PAGE, "How to redact an e-mail address")
    named = [name for row in rows for text in row for name in get_names(text)]
    assert argument in named
    assert 'replacement="removed"' in named
    email = re.findall(r'EMAIL = r"(.+)"', get_text(PAGE))[0]
    before_send = eval(f'redact({argument}, replacement="X")', {"redact": redact, "EMAIL": email})
    assert before_send({"properties": before, "context": {}})["properties"] == after


def test_a_number_needs_the_name_that_the_page_gives() -> None:
    (call,) = re.findall(r'`(redact\("card_number".+\))`', get_text(PAGE))
    text, number = re.findall(r'`"?(\d{16})"?`', get_text(PAGE))
    before = {"note": text, "total": int(number), "card_number": int(number)}
    after = eval(call, {"redact": redact})({"properties": before, "context": {}})["properties"]
    assert after == {"note": "[redacted]", "total": int(number), "card_number": "[redacted]"}


def test_nothing_is_sent_that_a_failing_before_send_has_not_seen() -> None:
    transport, errors = MemoryTransport(), list[Any]()

    def fail(event: dict[str, Any]) -> dict[str, Any]:
        raise LookupError(event["properties"]["email"])

    with Whisperr(KEY, transport=transport, before_send=fail, on_error=errors.append) as client:
        client.track("ada", "seen", {"email": "ada@example.com"})
        client.identify("ada", traits={"plan": "pro"})  # which it does not see
    assert [list(event) for request in transport.sent for event in request.events] == [
        ["external_user_id", "traits"]
    ]
    assert [error.reason for error in errors] == ["invalid"]
    assert "ada@example.com" not in str(errors[0])


def test_a_log_of_a_report_shows_how_many_events_and_not_what_is_in_them() -> None:
    errors: list[WhisperrError] = []
    client = Whisperr(KEY, transport=MemoryTransport(), on_error=errors.append, flush_interval=60)
    client.track("ada", "seen", {"email": "ada@example.com"})
    client.shutdown(0)
    (error,) = errors
    assert error.events[0]["properties"] == {"email": "ada@example.com"}
    assert "events=<1>" in repr(error)
    assert "ada" not in repr(error)


def test_a_file_of_events_is_for_its_owner_only_and_has_no_key(tmp_path: Path) -> None:
    file = tmp_path / "events.db"
    transport = MemoryTransport()
    client = Whisperr(KEY, buffer=f"sqlite:///{file}", transport=transport, flush_interval=60)
    client.track("ada", "seen")
    client._get_pipeline().queue.poll()  # type: ignore[attr-defined]  # a shared queue: it stores
    (log,) = (tmp_path / "events.db-log").iterdir()
    files = sorted(path for path in tmp_path.iterdir() if path.is_file())
    assert [path.name for path in files] == ["events.db", "events.db-shm", "events.db-wal"]
    files.append(log)
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    assert stat.S_IMODE(log.parent.stat().st_mode) == 0o700
    assert not any(KEY.encode() in path.read_bytes() for path in files)
    client.shutdown()
