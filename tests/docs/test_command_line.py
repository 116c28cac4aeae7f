"""docs/command-line.md: its commands run, and its tables are those of the code."""

from __future__ import annotations

import gzip
import json
import os
import re
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

import pytest

from tests.docs.page import get_blocks, get_text
from whisperr._cli.command import UsageError
from whisperr._cli.main import make_parser
from whisperr._cli.mapping import FieldMap, is_target
from whisperr.dev import LocalServer

if TYPE_CHECKING:
    from pathlib import Path

PAGE = "docs/command-line.md"
YESTERDAY = f"{datetime.now(timezone.utc) - timedelta(days=1):%Y-%m-%d}"
SEGMENT = {
    "type": "track",
    "userId": "user_8842",
    "event": "Order Completed",
    "timestamp": f"{YESTERDAY}T12:00:00Z",
    "messageId": "m1",
    "context": {"ip": "192.0.2.1"},
}


IDENTIFY = {"type": "identify", "userId": "user_8842", "traits": {"email": "ada@example.com"}}


def get_block(language: str, number: int = 0) -> str:
    block = get_blocks(PAGE, language)[number]
    return re.sub(r"\d{4}-\d\d-\d\d", YESTERDAY, block)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with the files that the page names."""
    lines = get_block("json").encode()
    (tmp_path / "events.jsonl").write_bytes(lines)
    (tmp_path / "events.jsonl.gz").write_bytes(gzip.compress(lines))
    (tmp_path / "events.csv").write_text(get_block("csv"), encoding="utf-8")
    (tmp_path / "users.csv").write_text(get_block("csv", 1), encoding="utf-8")
    (tmp_path / "segment.jsonl").write_text(json.dumps(SEGMENT), encoding="utf-8")
    mixed = f"{json.dumps(SEGMENT)}\n{json.dumps(IDENTIFY)}\n"
    (tmp_path / "mixed.jsonl").write_text(mixed, encoding="utf-8")
    return tmp_path


def run(block: str, folder: Path, url: str) -> subprocess.CompletedProcess[str]:
    """Run a block as a shell does, with this interpreter's command."""
    command = folder / "whisperr"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m whisperr "$@"\n', encoding="utf-8")
    command.chmod(0o700)
    environment = {
        **os.environ,
        "PATH": os.pathsep.join([str(folder), os.environ["PATH"]]),
        "WHISPERR_API_KEY": "wrk_test",
        "WHISPERR_BASE_URL": url,
    }
    return subprocess.run(
        ["sh", "-ec", block],
        capture_output=True,
        text=True,
        cwd=folder,
        env=environment,
        timeout=60,
        check=False,
    )


@pytest.mark.skipif(os.name != "posix", reason="the page shows commands of a POSIX shell")
class TestCommands:
    @pytest.mark.parametrize("block", get_blocks(PAGE, "console"))
    def test_every_command_succeeds_and_what_it_sends_is_valid(
        self, block: str, folder: Path
    ) -> None:
        with LocalServer() as server:
            ended = run(block, folder, server.url)
            assert ended.returncode == 0, ended.stderr
            assert server.arrivals(status="refused") == []
            elsewhere = "--dry-run" in block or "whisperr dev" in block
            assert bool(server.arrivals()) is not elsewhere or "doctor" in block

    def test_the_rows_arrive_as_the_page_says(self, folder: Path) -> None:
        block = next(one for one in get_blocks(PAGE, "console") if "events.csv" in one)
        with LocalServer() as server:
            ended = run(block, folder, server.url)
            (arrival,) = server.arrivals()
        assert (arrival.user, arrival.type) == ("user_8842", "payment_failed")
        assert arrival.body["properties"] == {"amount": 49.0, "plan": "pro"}
        assert arrival.body["occurred_at"] == f"{YESTERDAY}T12:00:00.000Z"
        assert "left out: 'email'" in ended.stderr

    def test_each_kind_of_call_arrives_by_a_run_of_its_own(self, folder: Path) -> None:
        block = next(one for one in get_blocks(PAGE, "console") if "mixed.jsonl" in one)
        with LocalServer() as server:
            run(block, folder, server.url)
            event, identify = server.arrivals()
        assert (event.type, identify.kind) == ("order_completed", "identify")
        assert identify.body["channels"][0]["address"] == "ada@example.com"

    def test_a_list_of_users_arrives_as_the_page_says(self, folder: Path) -> None:
        block = next(one for one in get_blocks(PAGE, "console") if "users.csv" in one)
        with LocalServer() as server:
            run(block, folder, server.url)
            (arrival,) = server.arrivals(kind="identify")
        assert arrival.body["traits"] == {"plan": "pro", "seats": 9}
        assert arrival.body["channels"][0]["address"] == "ada@example.com"

    def test_a_dry_run_prints_what_the_page_shows(self, folder: Path) -> None:
        (shown,) = get_blocks(PAGE, "text")
        with LocalServer() as server:
            out = run("whisperr import events.jsonl --dry-run", folder, server.url).stdout
        start, _, _ = shown.partition("…")
        assert out.startswith(start)


def test_every_command_is_in_the_table() -> None:
    listed = re.findall(r"^\| `whisperr (\w+)`", get_text(PAGE), re.MULTILINE)
    commands = next(a for a in make_parser()._actions if a.choices is not None)
    assert listed == list(commands.choices or ())


def test_the_targets_have_the_types_of_the_table() -> None:
    rows = re.findall(r"^\| (`.*?) \|(.*)\|$", get_text(PAGE).split("| target |")[1], re.MULTILINE)
    targets = {
        target: re.findall(r":(\w+)", types)
        for names, types in rows
        for target in re.findall("`(.*?)`", names)
    }
    assert len(targets) == 12
    kinds = {kind for types in targets.values() for kind in types}
    for target, types in targets.items():
        assert is_target(target)
        if types:
            for kind in kinds:
                option = f"column={target}:{kind}"
                if kind in types:
                    FieldMap([option], [])
                else:
                    with pytest.raises(UsageError, match="no type"):
                        FieldMap([option], [])
