"""Ctrl-C at any command, and a reader that goes away: one line, the exit code, no traceback."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import pytest

from tests.cli.test_import_file import LIMIT, event, write
from tests.facilities import needs_signals
from whisperr.dev import LocalServer, faults

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = needs_signals


@contextmanager
def start(*words: str, shell: str = "") -> Iterator[subprocess.Popen[str]]:
    """Start the command in a process of its own; `shell` redirects its streams."""
    command = [sys.executable, "-m", "whisperr", *words]
    if shell:
        command = ["sh", "-c", f'exec "$@" {shell}', "sh", *command]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (
            ["track", "u1", "login"],
            "with --message-id it can be repeated without a duplicate",
        ),
        (
            ["identify", "u1", "--trait", "plan=pro"],
            "it can be repeated",
        ),
        (["doctor"], ""),
    ],
)
def test_ctrl_c_while_a_server_does_not_answer_is_130_and_one_line(
    server: LocalServer, words: list[str], text: str
) -> None:
    server.set_faults(faults.hang())
    with start(*words) as process:
        server.wait_requests(1, timeout=LIMIT)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=LIMIT)
    assert process.returncode == 130
    assert err.startswith(f"whisperr {words[0]}: interrupted")
    assert err.endswith(f"{text}\n")
    assert err.count("\n") == 1


def test_a_second_ctrl_c_ends_an_import_at_once(server: LocalServer, tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    write(file, map(event, range(10)))
    server.set_faults(faults.hang())
    with start("import", str(file)) as process:
        server.wait_requests(1, timeout=LIMIT)
        # Two signals at the same moment are one for Python, so another one follows until the end.
        for _ in range(int(LIMIT)):
            process.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=1)
                break
        _, err = process.communicate(timeout=LIMIT)
    assert process.returncode in (130, -signal.SIGINT)
    assert "Traceback" not in err
    checkpoint = file.with_name("events.jsonl.checkpoint")
    assert json.loads(checkpoint.read_text(encoding="utf-8"))["line"] == 0


def test_a_process_that_ignores_ctrl_c_goes_on(server: LocalServer, tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    write(file, map(event, range(10)))
    server.set_faults(faults.status(503, times=1))  # after which the client waits
    trap = f"trap '' INT; exec {sys.executable} -m whisperr import {file}"
    with subprocess.Popen(["sh", "-c", trap], stdout=subprocess.PIPE, text=True) as process:
        server.wait_requests(1, timeout=LIMIT)
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=LIMIT)
    assert process.returncode == 0
    assert out.startswith("delivered 10 of 10 lines")


def test_an_import_goes_on_when_its_reader_has_gone(server: LocalServer, tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    write(file, ["nope", *map(event, range(10))])
    with start("import", str(file), shell="2>&1") as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.wait(LIMIT) == 1  # one line was refused
    assert len(server.arrivals()) == 10


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")  # noqa: PTH110  # a device
def test_an_import_goes_on_when_its_reports_cannot_be_written(
    server: LocalServer, tmp_path: Path
) -> None:
    file = tmp_path / "events.jsonl"
    write(file, ["nope", *map(event, range(10))])
    with start("import", str(file), shell="2>/dev/full") as process:
        out, _ = process.communicate(timeout=LIMIT)
    assert process.returncode == 1
    assert out.startswith("delivered 10 of 11 lines")
