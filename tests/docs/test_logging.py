"""docs/trouble/logging.md holds: its tables are the code's, its configurations log as they say."""

from __future__ import annotations

import json
import re
import threading
from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest

from tests.docs.page import ROOT, get_blocks, get_names, get_rows, get_text, paste
from tests.docs.pasted import run, run_python
from whisperr import Whisperr
from whisperr._delivery.pool import THREAD_NAME
from whisperr._delivery.reporter import ANONYMOUS_INTERVAL, INTERVAL
from whisperr.dev import LocalServer
from whisperr.errors import WhisperrError
from whisperr.testing import MemoryTransport

if TYPE_CHECKING:
    from pathlib import Path

PAGE = "docs/trouble/logging.md"
REPORTS = get_rows(PAGE, "on_error")
SOURCES = sorted((ROOT / "src/whisperr").rglob("*.py"))
# Bad input, after the code of a page; the record names this line.
BAD = '\nwhisperr.track("ada", "Payment Failed")\n'
PLAIN = f"from whisperr import Whisperr\n\nwhisperr = Whisperr(){BAD}"


def test_the_fields_are_those_of_the_code() -> None:
    fields = {name for row in REPORTS if len(row) == 2 for name in get_names(row[0])}
    assert fields == {name.lstrip("_") for name in WhisperrError.__slots__}


def test_every_level_that_is_logged_is_in_the_table() -> None:
    used = {
        level.upper()
        for path in SOURCES
        for level in re.findall(r"\blog\(\s*\"(\w+)\"", path.read_text(encoding="utf-8"))
    }
    used = {"ERROR" if level == "EXCEPTION" else level for level in used}
    assert used == {get_names(row[0])[0] for row in get_rows(PAGE, "Levels")}


def test_a_kind_is_reported_as_often_as_the_page_says() -> None:
    assert (INTERVAL, ANONYMOUS_INTERVAL) == (1.0, 60.0)
    text = " ".join(get_text(PAGE).split())
    assert "each kind is logged at most once a second" in text
    assert "A failing store and calls without a user are logged at most once a minute" in text


def test_without_a_setting_a_record_is_one_line_on_stderr(tmp_path: Path) -> None:
    (shown,) = get_blocks(PAGE, "text")
    with LocalServer() as server:
        done = run(tmp_path, PLAIN, WHISPERR_BASE_URL=server.url, WHISPERR_API_KEY="wrk_test")
    assert done.stderr.replace(f"{tmp_path}/", "") == shown


def test_the_dictionary_writes_to_its_file(tmp_path: Path) -> None:
    configuration = get_blocks(PAGE, "python")[0]
    with LocalServer() as server:
        done = run(
            tmp_path,
            configuration + PLAIN,
            WHISPERR_BASE_URL=server.url,
            WHISPERR_API_KEY="wrk_test",
        )
    (line,) = (tmp_path / "losses.log").read_text(encoding="utf-8").splitlines()
    assert "WARNING" in line
    assert "Payment Failed" in line
    assert done.stderr == ""


@pytest.mark.skipif(find_spec("django") is None, reason="django: not installed")
def test_the_setting_of_django_logs_to_the_console(tmp_path: Path) -> None:
    (tmp_path / "settings.py").write_text(get_blocks(PAGE, "python")[1], encoding="utf-8")
    program = f"import django\n\ndjango.setup()\n{PLAIN}"
    with LocalServer() as server:
        done = run(
            tmp_path,
            program,
            WHISPERR_BASE_URL=server.url,
            WHISPERR_API_KEY="wrk_test",
            DJANGO_SETTINGS_MODULE="settings",
        )
    assert done.stderr.count("Payment Failed") == 1


def test_the_structured_handler_prints_one_object_a_line(tmp_path: Path) -> None:
    with LocalServer() as server:
        done = run(
            tmp_path,
            get_blocks(PAGE, "python")[2] + PLAIN,
            WHISPERR_BASE_URL=server.url,
            WHISPERR_API_KEY="wrk_test",
        )
    line = json.loads(done.stderr)
    assert (line["level"], line["logger"]) == ("WARNING", "whisperr")
    assert "Payment Failed" in line["text"]


def test_debug_shows_each_request_and_a_higher_level_silences_it(tmp_path: Path) -> None:
    debug, silence = get_blocks(PAGE, "python")[3:5]
    with LocalServer() as server:
        environment = {"WHISPERR_BASE_URL": server.url, "WHISPERR_API_KEY": "wrk_test"}
        assert "HTTP 202" in run(tmp_path, debug, **environment).stderr
        assert run(tmp_path, f"import logging\n{silence}{PLAIN}", **environment).stderr == ""


def test_the_whole_page_runs_in_order_and_its_lost_events_can_be_imported(tmp_path: Path) -> None:
    lose = '\nwhisperr.track("ada", "seat_removed", message_id="evt_1")\nwhisperr.shutdown(0)\n'
    with LocalServer() as server:
        environment = {"WHISPERR_BASE_URL": server.url, "WHISPERR_API_KEY": "wrk_test"}
        run(tmp_path, paste(PAGE) + BAD + lose, **environment)
        (event,) = (tmp_path / "lost.jsonl").read_text(encoding="utf-8").splitlines()
        assert json.loads(event)["event_type"] == "seat_removed"
        assert [arrival.type for arrival in server.arrivals()] == ["payment_failed"]
        for _ in range(2):  # a second time adds nothing
            run_python(tmp_path, "-m", "whisperr", "import", "lost.jsonl", **environment)
        accepted = server.arrivals(status="accepted")
        assert [arrival.message_id for arrival in accepted][1:] == ["evt_1"]


def test_on_error_runs_in_the_threads_that_the_page_names() -> None:
    threads: list[str] = []
    called = threading.Event()

    def report(_error: WhisperrError) -> None:
        threads.append(threading.current_thread().name)
        called.set()

    client = Whisperr("wrk_test", transport=MemoryTransport(), on_error=report)
    client.track("ada", "Not Snake Case")
    assert called.wait(60)
    assert threads == [THREAD_NAME]
    client.shutdown()
    client.track("ada", "seen")
    assert threads == [THREAD_NAME, threading.current_thread().name]
