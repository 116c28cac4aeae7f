"""The command: `python -m benchmarks [--quick] [--cases …] [--packages …]`.

A full run keeps its figures in benchmarks/results.json, case by case, and writes
docs/performance.md from them. A run of some cases replaces those. The figures of quick runs and of
single packages are only printed.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

from benchmarks import machine, page, record
from benchmarks.packages import PACKAGES
from benchmarks.registry import CASES
from benchmarks.report import to_lines
from benchmarks.run import run_case
from benchmarks.server_process import ceiling
from benchmarks.verdict import to_target_lines

ROUNDS = 5


def main() -> int:
    """Measure; exit with 1 when an event of ours was lost or doubled."""
    given = _arguments()
    limits = ceiling(0.3 if given.quick else 2.0)
    for label, value in limits.items():
        print(f"the server: {label}: {value:,.0f}", flush=True)
    keeps = not (given.quick or given.packages)
    rounds = given.rounds or (1 if given.quick else ROUNDS)
    results = record.begin(machine.description(), limits, anew=not given.cases) if keeps else None
    cases = {}
    for name in given.cases or list(CASES):
        tables = _measure(name, given, rounds)
        if tables is None:
            continue
        cases[name] = tables
        if results is not None:
            record.add(results, name, tables, rounds)
    print("\n".join(to_target_lines(cases)))
    if results is not None:
        page.write(results)
        print("wrote benchmarks/results.json and docs/performance.md")
    return 1 if _count_our_faults(cases) else 0


def _measure(name: str, given: argparse.Namespace, rounds: int) -> dict[str, Any] | None:
    """Run one case and print its tables; None when it is not part of this run."""
    case = CASES[name]
    variants = case.quick if given.quick else case.full
    if not variants:
        print(f"{name}: not part of a quick run")
        return None
    tables = run_case(name, case, variants, rounds, given.packages)
    measured = {variant: table._asdict() for variant, table in tables.items()}
    print("\n".join(["", *to_lines(name, measured)]), flush=True)
    return measured


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=main.__doc__)
    parser.add_argument("--quick", action="store_true", help="one small round")
    parser.add_argument("--cases", nargs="+", metavar="CASE", choices=CASES, default=[])
    names = [row.name for row in PACKAGES]
    parser.add_argument("--packages", nargs="+", metavar="PACKAGE", choices=names, default=[])
    parser.add_argument("--rounds", type=int, default=0, help=f"rounds of each case ({ROUNDS})")
    return parser.parse_args()


def _count_our_faults(
    cases: dict[str, dict[str, dict[str, dict[str, dict[str, list[float]]]]]],
) -> float:
    """Count the lost and doubled events of every row that is ours."""
    return sum(
        sum(figures.get("lost", [])) + sum(figures.get("doubled", []))
        for variants in cases.values()
        for table in variants.values()
        for row, figures in table["values"].items()
        if row in {"whisperr", "memory", "SQLite", "Redis"} or row.startswith("whisperr,")
    )


if __name__ == "__main__":
    sys.exit(main())
