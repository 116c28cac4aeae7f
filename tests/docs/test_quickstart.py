"""docs/start/quickstart.md: a newcomer who follows it sees what it shows, and the test passes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.docs.page import get_blocks
from tests.docs.pasted import run_in_dev, run_python
from tests.docs.test_pasted import to_comparable
from whisperr.dev import LocalServer

if TYPE_CHECKING:
    from pathlib import Path

PAGE = "docs/start/quickstart.md"
FILES = {block.partition("\n")[0].removeprefix("# "): block for block in get_blocks(PAGE, "python")}


def test_the_program_shows_what_the_page_shows(tmp_path: Path) -> None:
    (shown,) = get_blocks(PAGE, "text")
    assert to_comparable(run_in_dev(tmp_path, FILES["app.py"]).stderr) == shown


def test_a_wrong_name_is_refused_in_the_call_with_its_line(tmp_path: Path) -> None:
    wrong = FILES["app.py"].replace('"payment_failed"', '"Payment Failed"')
    done = run_in_dev(tmp_path, wrong)
    assert "event_type: got 'Payment Failed'" in done.stderr
    assert "app.py:8" in done.stderr
    assert "accepted 0" in done.stderr


def test_its_test_passes_without_a_key(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(FILES["app.py"], encoding="utf-8")
    (tmp_path / "test_app.py").write_text(FILES["test_app.py"], encoding="utf-8")
    done = run_python(tmp_path, "-m", "pytest")
    assert "1 passed" in done.stdout


def test_the_doctor_and_the_program_work_with_a_key(tmp_path: Path) -> None:
    (tmp_path / "signup.py").write_text(FILES["signup.py"], encoding="utf-8")
    (tmp_path / "app.py").write_text(FILES["app.py"], encoding="utf-8")
    with LocalServer() as server:
        live = {"WHISPERR_BASE_URL": server.url, "WHISPERR_API_KEY": "wrk_0123456789"}
        done = run_python(tmp_path, "-m", "whisperr", "doctor", **live)
        assert server.arrivals() == []  # it stores nothing
        run_python(tmp_path, "app.py", **live)
        run_python(tmp_path, "signup.py", **live)
        assert [a.type or "identify" for a in server.arrivals()] == ["payment_failed", "identify"]
    for checked in ("configuration", "connection", "key", "clock"):
        assert f"✓ {checked} " in done.stdout or f"! {checked} " in done.stdout
