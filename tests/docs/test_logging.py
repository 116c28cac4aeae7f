"""docs/trouble/logging.md holds: its tables are the code's, its configurations log as they say."""

from __future__ import annotations

import json
import re
import threading
from importlib.util import find_spec
from inspect import signature
from typing import TYPE_CHECKING

import pytest

from tests.docs.page import ROOT, get_blocks, get_names, get_rows, get_text, paste
from tests.docs.pasted import run, run_python
from whisperr import Whisperr
from whisperr._delivery.pool import THREAD_NAME
from whisperr._delivery.reporter import ANONYMOUS_INTERVAL, INTERVAL
from whisperr._process.logger import log
from whisperr.dev import LocalServer
from whisperr.dev.faults import wrong_key
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


def test_the_fields_of_a_record_are_those_that_the_code_sets() -> None:
    listed = [get_names(row[0])[0] for row in get_rows(PAGE, "Structured logging")]
    keywords = [p.name for p in signature(log).parameters.values() if p.kind is p.KEYWORD_ONLY]
    assert listed == [f"whisperr_{name}" for name in keywords]
    (example,) = get_blocks(PAGE, "json")
    assert [name for name in json.loads(example) if name.startswith("whisperr_")] == [
        name for name in listed if name != "whisperr_reason"
    ]


def test_the_types_of_a_record_are_those_of_on_error() -> None:
    row = get_rows(PAGE, "Structured logging")[0]
    source = (ROOT / "src/whisperr/errors.py").read_text(encoding="utf-8")
    literal = source.partition("ErrorType = Literal[")[2].partition("]")[0]
    types = re.findall(r"`(\w+)`", row[1].partition(": ")[2])
    assert types == re.findall(r'"(\w+)"', literal)


@pytest.mark.parametrize(
    ("block", "package", "texts"),
    [(4, "pythonjsonlogger", "message"), (5, "structlog", "event"), (6, "json", "text")],
)
def test_a_structured_formatter_writes_the_fields_of_a_refused_key(
    block: int, package: str, texts: str, tmp_path: Path
) -> None:
    pytest.importorskip(package)
    track = (
        "\nfrom whisperr import Whisperr\n\nwhisperr = Whisperr(flush_interval=60)\n"
        'whisperr.track("ada", "seen")\nwhisperr.flush(10)\nwhisperr.flush(10)\n'
    )
    with LocalServer(faults=[wrong_key(times=1)]) as server:
        done = run(
            tmp_path,
            get_blocks(PAGE, "python")[block] + track,
            WHISPERR_BASE_URL=server.url,
            WHISPERR_API_KEY="wrk_test",
        )
    line = json.loads(done.stderr)
    assert "refused the API key" in line[texts]
    assert {name: line[name] for name in line if name.startswith("whisperr_")} == {
        "whisperr_type": "auth",
        "whisperr_count": 1,
        "whisperr_status": 401,
        "whisperr_host": f"127.0.0.1:{server.port}",
    }


def test_debug_shows_each_request_and_a_higher_level_silences_it(tmp_path: Path) -> None:
    debug, silence = get_blocks(PAGE, "python")[2:4]
    with LocalServer() as server:
        environment = {"WHISPERR_BASE_URL": server.url, "WHISPERR_API_KEY": "wrk_test"}
        assert "HTTP 202" in run(tmp_path, debug, **environment).stderr
        assert run(tmp_path, f"import logging\n{silence}{PLAIN}", **environment).stderr == ""


def test_the_whole_page_runs_in_order_and_its_lost_events_can_be_imported(tmp_path: Path) -> None:
    pytest.importorskip("pythonjsonlogger")
    pytest.importorskip("structlog")
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
