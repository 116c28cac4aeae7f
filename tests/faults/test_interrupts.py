"""Signal handlers that raise at random moments leave nothing stuck and nothing uncounted.

A few hundred interruptions of each kind of queue run with the tests, from WHISPERR_INTERRUPTS_SEED
(1). WHISPERR_INTERRUPTS makes it more.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.interrupts import KINDS
from tests.redis_server import why_not

SEED = os.environ.get("WHISPERR_INTERRUPTS_SEED", "1")
COUNT = os.environ.get("WHISPERR_INTERRUPTS", "300")


@pytest.mark.skipif(sys.implementation.name != "cpython", reason="only CPython is promised")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="signals of POSIX")
@pytest.mark.parametrize("kind", KINDS)
def test_calls_that_are_interrupted_at_random_leave_nothing_undone(kind: str) -> None:
    if kind == "redis" and (reason := why_not()):
        pytest.skip(reason)
    command = [sys.executable, "-m", "tests.faults.interrupts", "--count", COUNT, "--seed", SEED]
    # Not measured: a handler that raises within coverage would break coverage.
    env = {name: text for name, text in os.environ.items() if "COVERAGE" not in name}
    done = subprocess.run(
        [*command, "--kinds", kind],
        capture_output=True,
        text=True,
        env=env,
        timeout=600,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, f"{done.stdout[-2000:]}{done.stderr[-2000:]}"
    assert f"seed {SEED}, {COUNT} of" in done.stdout
