"""Runs the part of the suite that needs neither Linux nor servers beside Python.

    python -m tests.portable [--without-posix] [ARGUMENT OF PYTEST ...]

This is what runs on macOS and Windows. A test in it that needs what a system lacks is skipped with
the reason. `--without-posix` hides on Linux what Windows does not have; see `without_posix`.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
FOLDERS = (
    *("unit", "process", "events", "queue", "delivery", "http", "stories", "os_processes"),
    *("billing", "cli", "checkup", "dev", "testing"),
    *(
        "integrations",
        "aiohttp",
        "asgi",
        "aws_lambda",
        "flask",
        "django",
        "opentelemetry",
        "prometheus",
        "sqlalchemy",
        "wsgi",
    ),
)
# The other folders, and why they run on Linux only.
LINUX_ONLY = {
    "benchmarks": "the suite of `make bench`, which measures on Linux",
    "browser": "looks at pages in the Chromium of the system",
    "celery": "pools of processes that are forked",
    "docs": "the same text on every system",
    "faults": "kills processes by signals, and drives them against Redis and PostgreSQL",
    "hosts": "servers and workers that are ended by signals",
    "outbox": "needs PostgreSQL from a wheel for Linux",
    "task_queues": "workers that are forked and ended by signals",
    "types": "type checkers, which find the same on every system",
}
# A test that hangs says where, and ends its process: with `-n`, the others go on.
_BOUNDS = ("-o", "faulthandler_timeout=300", "-o", "faulthandler_exit_on_timeout=true")


def main(arguments: list[str]) -> int:
    """Run the tests; return the exit code of pytest."""
    given = [one for one in arguments if one != "--without-posix"]
    hiding = [] if given == arguments else ["-p", "tests.without_posix"]
    folders = [str(TESTS / name) for name in FOLDERS]
    if any("/" in one or os.sep in one or ".py" in one for one in given):
        folders = []  # some of the tests are named
    return int(pytest.main(["-q", *_BOUNDS, *hiding, *given, *folders]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
