"""Runs a program under one of the two packages, against a local server of its own."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from whisperr.dev import LocalServer

if TYPE_CHECKING:
    from scripts.upgrade.program import Program

# Longer than any exit of 0.2.1 that the programs provoke.
_LONGEST = 90.0  # seconds
_MAX_CHARS = 300
# What differs from one run to the next.
_CHANGING = (
    (re.compile(r"127\.0\.0\.1:\d+"), "127.0.0.1:PORT"),
    (re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d+"), "TIME"),
    (re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+(Z|\+00:00)"), "TIME"),
    (re.compile(r"(?<![\w:/])(/[\w.-]+)+/"), ""),
    (re.compile(r" object at 0x[0-9a-f]+"), " object"),
    (re.compile(r"\b\d+(\.\d+)? s\b"), "N s"),
)


def run(program: Program, python: Path, path: str = "") -> str:
    """Return what the program printed or raised, and what arrived, in one line.

    `path` is the PYTHONPATH of the program.
    """
    with (
        tempfile.TemporaryDirectory() as folder,
        LocalServer(faults=program.faults) as server,
    ):
        file = Path(folder) / "program.py"
        file.write_text(program.to_text(), encoding="utf-8")
        environment = {"PATH": os.environ["PATH"], "UPGRADE_URL": server.url, "PYTHONPATH": path}
        began = time.monotonic()
        try:
            ended = subprocess.run(
                [str(python), str(file)],
                cwd=folder,
                env=environment,
                capture_output=True,
                text=True,
                timeout=_LONGEST,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return f"does not end within {_LONGEST:.0f} s"
        took = time.monotonic() - began
        parts = _get_parts(program, ended)
        # A program that failed before it sent anything has said so.
        if program.look is not None and (server.requests() or not ended.returncode):
            parts.append(program.look(server))
    answer = _shorten("; ".join(parts))
    return "; ".join(filter(None, (answer, _to_seconds(took) if program.timed else "")))


def _get_parts(program: Program, ended: subprocess.CompletedProcess[str]) -> list[str]:
    """Return what was printed, and the exception that ended the program or the log."""
    parts = [" ".join(ended.stdout.split("\n")).strip()]
    lines = ended.stderr.strip().splitlines()
    if program.logs:
        parts.append(f"logged: `{lines[0]}`" if lines else "nothing on stderr")
    elif ended.returncode:
        parts.append(f"`{lines[-1]}`" if lines else f"exit status {ended.returncode}")
    return [part for part in parts if part]


def _to_seconds(took: float) -> str:
    """Return a time as coarse as it is the same in every run: retries wait for random times."""
    return "under 2 s" if took < 2 else f"about {5 * max(1, round(took / 5))} s"  # noqa: PLR2004  # as above


def _shorten(text: str) -> str:
    """Return one line for a cell of a table, without what changes from run to run."""
    for pattern, name in _CHANGING:
        text = pattern.sub(name, text)
    text = text.replace("|", "\\|")
    return text if len(text) <= _MAX_CHARS else f"{text[:_MAX_CHARS]}…"
