"""The file that keeps what arrives: over restarts, within bounds, after a kill."""

from __future__ import annotations

import json
import os
from datetime import datetime, timezone
from typing import TYPE_CHECKING

import pytest

from tests.dev.wire import BATCH, event, post
from whisperr.dev import LocalServer
from whisperr.dev._memory import journal as _journal
from whisperr.dev._memory.arrivals import Cursor

if TYPE_CHECKING:
    from pathlib import Path

NOW = datetime(2026, 6, 14, 12, 0, 1, tzinfo=timezone.utc).timestamp()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.jsonl"


def make_server(path: Path, keep: int = 10_000) -> LocalServer:
    return LocalServer(store=path, clock=lambda: NOW, keep=keep)


def fill(path: Path, *ids: str) -> Cursor:
    """Send these events to a server and close it; return its last cursor."""
    with make_server(path) as server:
        for message_id in ids:
            post(server, BATCH, {"events": [event(message_id)]})
        return server._memory.cursor()


def get_ids(path: Path) -> list[str | None]:
    with make_server(path) as server:
        return [arrival.message_id for arrival in server.arrivals()]


def test_a_restarted_server_shows_the_same(path: Path) -> None:
    with make_server(path) as server:
        events = [event("a"), event("a"), event("b", properties=[])]
        post(server, BATCH, {"events": events})
        post(server, "/v1/identify", {"external_user_id": "ü\ud800", "traits": {"n": 1.5}})
        post(server, BATCH, b"\xff{")
        before, requests, counts = server.arrivals(), server.requests(), server.summary()
    with make_server(path) as server:
        assert server.arrivals() == before
        statuses = ["accepted", "duplicate", "refused", "accepted"]
        assert [arrival.status for arrival in before] == statuses
        assert [r.body for r in server.requests()] == [r.body for r in requests]
        assert server.summary() == counts


def test_ids_numbers_and_cursors_continue(path: Path) -> None:
    cursor = fill(path, "a", "b")
    with make_server(path) as server:
        assert server._memory.cursor() == cursor
        post(server, BATCH, {"events": [event("b"), event("c")]})
        changes = server._memory.changes(cursor, 100)
        assert not changes.fresh
        assert [(a.seq, a.message_id, a.status) for a in changes.arrivals] == [
            (3, "b", "duplicate"),
            (4, "c", "accepted"),
        ]
        assert [request.number for request in changes.requests] == [3]


def test_no_key_is_in_the_file_and_only_its_owner_reads_it(path: Path) -> None:
    fill(path, "a")
    assert b"wrk_test" not in path.read_bytes()
    assert b"wrk_\\u2026" in path.read_bytes()
    if os.name == "posix":
        assert path.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("cut", [1, 20, 200])
def test_a_broken_last_line_is_skipped(
    path: Path, cut: int, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(path, "a", "b", "c")
    path.write_bytes(path.read_bytes()[:-cut])
    assert get_ids(path) == (["a", "b", "c"] if cut == 1 else ["a", "b"])
    with make_server(path) as server:
        post(server, BATCH, {"events": [event("d")]})
    capsys.readouterr()
    assert get_ids(path)[-2:] == (["c", "d"] if cut == 1 else ["b", "d"])
    assert capsys.readouterr().err == ""


def test_lines_that_cannot_be_read_are_reported_and_skipped(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(path, "a", "b")
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + b"{}\n[1]\nx\n" + b"[" * 100_000 + b"\n" + b"".join(lines[1:]))
    assert get_ids(path) == ["a", "b"]
    assert "skipped 4 lines" in capsys.readouterr().err
    assert get_ids(path) == ["a", "b"]
    assert capsys.readouterr().err == ""


def test_a_reset_empties_the_file(path: Path) -> None:
    with make_server(path) as server:
        post(server, BATCH, {"events": [event("a")]})
        server.reset()
        post(server, BATCH, {"events": [event("b")]})
        cursor = server._memory.cursor()
    assert get_ids(path) == ["b"]
    with make_server(path) as server:
        assert server._memory.cursor() == cursor


def test_the_file_is_bounded_and_keeps_the_newest(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_journal, "_BOUND_BYTES", 4_000)
    with LocalServer(store=path, clock=lambda: NOW) as server:
        for number in range(60):
            post(server, BATCH, {"events": [event(str(number))]})
            assert path.stat().st_size < 9_000
        cursor = server._memory.cursor()
    found = get_ids(path)
    assert found == [str(number) for number in range(60 - len(found), 60)]
    assert len(found) > 3
    with make_server(path) as server:
        assert server._memory.cursor() == cursor
        assert server._memory.changes(Cursor(cursor.epoch, 2, 2), 100).missed == 60 - len(found) - 2


def test_a_rewritten_file_holds_what_the_memory_keeps(path: Path) -> None:
    fill(path, "a", "b", "c")
    path.write_bytes(path.read_bytes() + b"x")
    with make_server(path, keep=2):
        pass
    assert get_ids(path) == ["b", "c"]


@pytest.mark.parametrize("text", ["a diary\n", "{}\n", '{"whisperr_dev": 2, "epoch": "a"}\n', "["])
def test_a_file_of_something_else_is_left_as_it_is(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match="other data"):
        make_server(path)
    assert path.read_text(encoding="utf-8") == text


def test_a_file_that_cannot_be_opened_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="choose a file"):
        make_server(tmp_path)


def test_two_servers_do_not_share_a_file(path: Path) -> None:
    pytest.importorskip("fcntl", reason="no file locks on this system")
    with make_server(path), pytest.raises(ValueError, match="another whisperr dev"):
        make_server(path)
    fill(path, "a")


def test_a_full_disk_is_reported_once_and_the_memory_continues(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(_file: int, _data: object) -> int:
        raise OSError(28, "No space left on device")

    with make_server(path) as server:
        post(server, BATCH, {"events": [event("a")]})
        monkeypatch.setattr(os, "write", full)
        for message_id in ("b", "c"):
            assert post(server, BATCH, {"events": [event(message_id)]})[0] == 202
        server.reset()
        assert post(server, BATCH, {"events": [event("d")]})[0] == 202
        monkeypatch.undo()
    assert capsys.readouterr().err.count("No space left") == 1


def test_the_first_line_names_the_epoch(path: Path) -> None:
    cursor = fill(path)
    head = json.loads(path.read_text(encoding="utf-8"))
    assert head == {"whisperr_dev": 1, "epoch": cursor.epoch}


def test_closing_a_server_that_never_started_unlocks_the_file(path: Path) -> None:
    make_server(path).close()
    fill(path, "a")
