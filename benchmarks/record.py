"""Keeps the figures of full runs in benchmarks/results.json as soon as a case is measured.

An interrupted run keeps its figures, and `--cases` adds or replaces some. Figures are combined only
if machine and versions are the same, so that all rows of the page can be compared.
"""

from __future__ import annotations

import json
import subprocess
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from benchmarks.environments import ROOT
from benchmarks.registry import CASES

if TYPE_CHECKING:
    from collections.abc import Mapping

RESULTS = ROOT / "benchmarks" / "results.json"


def read() -> dict[str, Any] | None:
    """Return the kept results; None when there are none."""
    if not RESULTS.exists():
        return None
    results: dict[str, Any] = json.loads(RESULTS.read_text(encoding="utf-8"))
    return results


def begin(
    machine: Mapping[str, object], ceiling: Mapping[str, float], *, fresh: bool
) -> dict[str, Any]:
    """Return the results that a run adds to: the kept ones, if they are comparable, else none."""
    before = None if fresh else read()
    if before is not None and before["machine"] == machine:
        return before
    if before is not None:
        print("the kept results are of another machine or other versions: they are replaced")
    return {"machine": dict(machine), "ceiling": dict(ceiling), "cases": {}, "runs": {}}


def add(
    results: dict[str, Any], name: str, tables: dict[str, Any], rounds: int, base: str = ""
) -> None:
    """Keep one case, in the order of the page, with the date and the commits."""
    results["cases"][name] = tables
    results["runs"][name] = {
        "date": datetime.now(timezone.utc).date().isoformat(),
        "commit": _commit(),
        "rounds": CASES[name].rounds or rounds,
        "base": base,
    }
    for part in ("cases", "runs"):
        results[part] = {one: results[part][one] for one in CASES if one in results[part]}
    RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def _commit() -> str:
    """Return the measured commit, with a + when the package differs from it."""
    changed = _git("status", "--porcelain", "--", "src")
    return _git("rev-parse", "--short", "HEAD") + ("+" if changed else "")


def _git(*arguments: str) -> str:
    command = ["git", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip()
