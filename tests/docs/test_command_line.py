"""docs/develop/command-line.md: its commands run, and its tables are those of the code."""

from __future__ import annotations

import gzip
import json
import os
import re
import subprocess
import sys
from argparse import ArgumentParser
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

import pytest

from tests.cli.test_import_from import get_stripe_events, to_list
from tests.docs.page import get_blocks, get_text
from whisperr._cli.command import UsageError
from whisperr._cli.main import make_parser
from whisperr._cli.mapping import FieldMap, is_target
from whisperr._cli.selection import REASONS
from whisperr._queue.dead_letters import LONGEST_AGE_DAYS, MOST, MOST_BYTES
from whisperr._queue.sqlite.store import SQLiteStore
from whisperr.dev import LocalServer
from whisperr.errors import Loss

if TYPE_CHECKING:
    from pathlib import Path

PAGE = "docs/develop/command-line.md"
YESTERDAY = f"{datetime.now(timezone.utc) - timedelta(days=1):%Y-%m-%d}"
SEGMENT = {
    "type": "track",
    "userId": "user_8842",
    "event": "Order Completed",
    "timestamp": f"{YESTERDAY}T12:00:00Z",
    "messageId": "m1",
    "context": {"ip": "192.0.2.1"},
}


EVENTS = "import whisperr\n\nclass PlanUpgraded(whisperr.Event):\n    plan: str\n"
SEND_NOTHING = ("--dry-run", "whisperr dev", "whisperr events", "dead-letters")
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
    for number, name in enumerate(("customers.csv", "events.csv", "users.csv")):
        (tmp_path / name).write_text(get_block("csv", number), encoding="utf-8")
    (tmp_path / "stripe.json").write_text(to_list(get_stripe_events()), encoding="utf-8")
    (tmp_path / "segment.jsonl").write_text(json.dumps(SEGMENT), encoding="utf-8")
    mixed = f"{json.dumps(SEGMENT)}\n{json.dumps(IDENTIFY)}\n"
    _make_dead_letters(tmp_path / "whisperr.db")
    (tmp_path / "mixed.jsonl").write_text(mixed, encoding="utf-8")
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "events.py").write_text(EVENTS, encoding="utf-8")
    return tmp_path


def _make_dead_letters(path: Path) -> None:
    """Make a buffer with 17 dead letters, the last of them with the type of the page."""
    store = SQLiteStore(str(path), "NORMAL", 15.0, 100, 1 << 20, dead_letters=True)
    event = b'{"event_type":"payment_failed","external_user_id":"user_8842"}'
    for number in range(17):
        store.append([event], number)
        store.claim(1)
        assert store.ack(1, Loss(1, "rejected", "the service answered HTTP 400", 400)) == 1
    store.close()


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
        ["sh", "-ec", block.replace("/var/lib/app", str(folder))],
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
            elsewhere = any(one in block for one in SEND_NOTHING)
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

    @pytest.mark.parametrize("number", [0, 1])
    def test_a_dry_run_prints_what_the_page_shows(self, folder: Path, number: int) -> None:
        shown = get_blocks(PAGE, "text")[number]
        runs = [one for one in get_blocks(PAGE, "console") if one.endswith("--dry-run\n")]
        with LocalServer() as server:
            out = run(runs[number], folder, server.url).stdout
        start, _, _ = shown.partition("…")
        assert out.startswith(start)


def _get_parser(command: str) -> ArgumentParser:
    commands = next(a for a in make_parser()._actions if a.choices is not None)
    found = dict(commands.choices or ())[command]
    assert isinstance(found, ArgumentParser)
    return found


def test_every_command_is_in_the_table() -> None:
    listed = re.findall(r"^\| `whisperr ([\w-]+)`", get_text(PAGE), re.MULTILINE)
    commands = next(a for a in make_parser()._actions if a.choices is not None)
    assert listed == list(commands.choices or ())


def test_the_actions_and_reasons_of_dead_letters_are_those_of_the_code() -> None:
    text = get_text(PAGE).split("## Dead letters")[1]
    actions = next(a for a in _get_parser("dead-letters")._actions if a.choices is not None)
    assert re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE) == list(actions.choices or ())
    row = next(line for line in text.splitlines() if line.startswith("| `--reason`"))
    assert tuple(re.findall("`([a-z_]+)`", row)) == REASONS
    durability = " ".join(get_text("docs/delivery/durability.md").split())
    assert f"At most {MOST:,} are kept, and at most {MOST_BYTES >> 20} MiB, for" in durability
    assert f"MiB, for {LONGEST_AGE_DAYS} days" in durability
    assert set(REASONS) <= set(re.findall(r"\| `(\w+)` \| (?:an|all) ", durability))


def _get_targets() -> str:
    return get_text(PAGE).split("| target |")[1].split("\n## ")[0]


def test_the_targets_have_the_types_of_the_table() -> None:
    rows = re.findall(r"^\| (`.*?) \|(.*)\|$", _get_targets(), re.MULTILINE)
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
