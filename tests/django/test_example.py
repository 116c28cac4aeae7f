"""The example project: its own tests pass, its checks find nothing, and its demo ends well."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Sequence

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "django"
BOUND = 300  # reached only by a process that hangs


def run(home: Path, *command: str) -> str:
    """Run a program of the example to its good end; return its output."""
    ours = {"SHOP_DATABASE": str(home / "shop.sqlite3"), "NO_COLOR": "1", "PYTHONUTF8": "1"}
    inherited = {
        name: value
        for name, value in os.environ.items()
        if name != "DJANGO_SETTINGS_MODULE" and not name.startswith("WHISPERR_")
    }
    done = subprocess.run(
        [sys.executable, *command],
        cwd=EXAMPLE,
        env={**inherited, **ours},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        timeout=BOUND,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.mark.parametrize(
    "command",
    [
        ("-W", "error", "manage.py", "test"),
        ("manage.py", "check", "--fail-level", "WARNING"),
        ("manage.py", "makemigrations", "--check", "--dry-run"),
    ],
    ids=" ".join,
)
def test_what_a_user_runs_first_is_well(tmp_path: Path, command: Sequence[str]) -> None:
    output = run(tmp_path, *command)
    assert any(text in output for text in ("Ran 11 tests", "no issues", "No changes detected")), (
        output
    )


def test_the_demo_shows_that_everything_arrived(tmp_path: Path) -> None:
    output = run(tmp_path, "demo.py")
    assert output.rstrip().endswith(
        "9 arrivals, as expected: nothing lost, the webhook counted once"
    )
    for text in (
        "✓ plan_upgraded",
        "= billing_issue_started",
        "✓ trial_expired",
        '"tenant": "acme"',
        "whisperr_client_event_accepted 7.0",
    ):
        assert text in output
    shown = (EXAMPLE / "README.md").read_text(encoding="utf-8").split("```text\n")[1]
    events = [line for line in shown.partition("```")[0].splitlines() if "identify" not in line]
    assert len(events) == 2
    assert [line for line in events if line not in output] == []
