"""The command: `python -m benchmarks [--quick] [--base REVISION] [--cases …] [--packages …]`.

A full run keeps its figures in benchmarks/results.json, case by case, and writes
docs/about/performance.md, docs/about/measurements.md and the table of docs/delivery/durability.md
from them. A run of some cases replaces those. The figures of quick runs and of single packages are
only printed.
"""

from __future__ import annotations

import argparse
import sys
import time
from typing import Any

from benchmarks import base, machine, page, record
from benchmarks.packages import PACKAGES
from benchmarks.registry import CASES
from benchmarks.report import to_lines
from benchmarks.run import Plan, run_case
from benchmarks.server_process import ceiling
from benchmarks.verdict import to_bar_lines

ROUNDS = 5
PEER_ROUNDS = 2


def main() -> int:
    """Measure; exit with 1 when an event of ours was lost or duplicated."""
    given = _parse_arguments()
    plan = _make_plan(given)
    limits = ceiling(0.3 if given.quick else 2.0)
    for label, value in limits.items():
        print(f"the server: {label}: {value:,.0f}", flush=True)
    keeps = not (given.quick or given.packages)
    results = record.begin(machine.description(), limits, fresh=not given.cases) if keeps else None
    cases = {}
    for name in given.cases or list(CASES):
        tables = _measure(name, plan, quick=given.quick)
        if tables is None:
            continue
        cases[name] = tables
        if results is not None:
            commit = "" if plan.base is None else plan.base.commit
            record.add(results, name, tables, plan.rounds, commit)
    print("\n".join(to_bar_lines(cases)))
    if results is not None:
        page.write(results)
        print("wrote benchmarks/results.json, and about/ and delivery/durability.md in docs")
    return 1 if _count_our_faults(cases) else 0


def _make_plan(given: argparse.Namespace) -> Plan:
    rounds = given.rounds or (1 if given.quick else ROUNDS)
    try:
        before = base.check_out(given.base) if given.base else None
    except ValueError as error:
        sys.exit(str(error))
    return Plan(rounds, min(rounds, PEER_ROUNDS), given.packages, before)


def _measure(name: str, plan: Plan, *, quick: bool) -> dict[str, Any] | None:
    """Run one case and print its tables; None when it is not part of this run."""
    case = CASES[name]
    variants = case.quick if quick else case.full
    if not variants:
        print(f"{name}: not part of a quick run")
        return None
    began = time.monotonic()
    tables = run_case(name, case._replace(rounds=1) if quick else case, variants, plan)
    measured = {variant: table._asdict() for variant, table in tables.items()}
    print("\n".join(["", *to_lines(name, measured)]), flush=True)
    print(f"{name}: {time.monotonic() - began:.0f} s", flush=True)
    return measured


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=main.__doc__)
    parser.add_argument("--quick", action="store_true", help="one small round")
    parser.add_argument("--base", metavar="REVISION", help="measure an earlier commit as well")
    parser.add_argument("--cases", nargs="+", metavar="CASE", choices=CASES, default=[])
    names = [row.name for row in PACKAGES]
    parser.add_argument("--packages", nargs="+", metavar="PACKAGE", choices=names, default=[])
    parser.add_argument(
        "--rounds",
        type=int,
        default=0,
        help=f"rounds of each case ({ROUNDS}; {PEER_ROUNDS} with other packages)",
    )
    return parser.parse_args()


def _count_our_faults(
    cases: dict[str, dict[str, dict[str, dict[str, dict[str, list[float]]]]]],
) -> float:
    """Count the lost and duplicated events of every row that is of this checkout."""
    return sum(
        sum(figures.get("lost", [])) + sum(figures.get("doubled", []))
        for name, variants in cases.items()
        for table in variants.values()
        for row, figures in table["values"].items()
        if row in _get_our_rows(name)
    )


def _get_our_rows(name: str) -> set[str]:
    """Return the rows of a case that use this checkout."""
    rows = CASES[name].rows or PACKAGES
    return {row.name for row in rows if row.adapter == "whisperr_now"}


if __name__ == "__main__":
    sys.exit(main())
