"""Describes the machine, the interpreter and the versions of a run."""

from __future__ import annotations

import os
import platform
from pathlib import Path

from benchmarks.environments import get_version
from benchmarks.packages import PACKAGES


def description() -> dict[str, object]:
    """Return what a reader needs to compare the figures."""
    return {
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": os.cpu_count(),
        "versions": {row.name: get_version(row.environment) for row in PACKAGES},
    }


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or "unknown"
    names = [line.partition(":")[2].strip() for line in text.splitlines() if "model name" in line]
    return names[0] if names else "unknown"
