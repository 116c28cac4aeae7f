"""Runs cases: a fresh process per measurement, all rows in turn, round after round."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmarks.base import add_rows, get_name_now
from benchmarks.environments import ROOT, Unavailable, get_python
from benchmarks.packages import PACKAGES, PEERS
from benchmarks.server_process import ServerProcess, closed_port_url, count_losses, run_server

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from benchmarks.base import Base
    from benchmarks.case import Case, Row, Variant

_START = "from benchmarks.start_child import main; main()"
# Seconds after the end of the process, for requests that are still on their way.
_SETTLE = 0.2
_MAX_SHOWN = 120  # characters of a failure that the page shows


class Table(NamedTuple):
    """The figures of one variant of a case: row -> figure -> values, and rows without figures."""

    values: dict[str, dict[str, list[float]]]
    unavailable: dict[str, str]


class Plan(NamedTuple):
    """How much of a case is run.

    `rounds`: the number of rounds; `peer_rounds`: the limit for other packages, which are there for
    comparison only. `only`: the packages to measure; empty: all of them. `base`: the earlier state
    to measure as well.
    """

    rounds: int
    peer_rounds: int
    only: Sequence[str] = ()
    base: Base | None = None


def run_case(name: str, case: Case, variants: dict[str, Variant], plan: Plan) -> dict[str, Table]:
    """Run every variant; the rows take turns within a round, and each round begins with another."""
    packages = [row for row in PACKAGES if not plan.only or row.name in plan.only]
    rows = add_rows(case.rows or packages, plan.base)
    tables = {}
    for variant_name, variant in variants.items():
        table = Table({}, {})
        for turn in range(case.rounds or plan.rounds):
            shift = turn % max(len(rows), 1)
            due = [
                row
                for row in rows[shift:] + rows[:shift]
                if row.name not in table.unavailable
                and (row.name not in PEERS or turn < plan.peer_rounds)
            ]
            with ThreadPoolExecutor(len(due) if variant.parallel and due else 1) as pool:
                list(pool.map(lambda row: _measure_into(table, name, case, variant, row), due))  # noqa: B023  # used in the loop only
        tables[variant_name] = Table(
            {row.name: table.values[row.name] for row in rows if row.name in table.values},
            {
                row.name: table.unavailable[row.name]
                for row in rows
                if row.name in table.unavailable
            },
        )
        print(f"{name} {variant_name}".strip(), "done", flush=True)
    return tables


def _measure_into(table: Table, name: str, case: Case, variant: Variant, row: Row) -> None:
    try:
        figures = measure(case.module or name, case, variant, row)
    except Unavailable as reason:
        table.unavailable[row.name] = str(reason)
        return
    values = table.values.setdefault(row.name, {})
    for figure, value in figures.items():
        values.setdefault(figure, []).append(value)


def measure(module_name: str, case: Case, variant: Variant, row: Row) -> dict[str, float]:
    """Run one process of one row; raises Unavailable with the reason if there is no figure."""
    module = importlib.import_module(f"benchmarks.cases.{module_name}")
    subject = variant.given.get("case", module_name)
    adapter = importlib.import_module(f"benchmarks.adapters.{row.adapter}")
    if subject in adapter.UNABLE:
        raise Unavailable(adapter.UNABLE[subject])
    python = str(get_python(row.environment))
    given = json.dumps({"share": row.share, **variant.given, "row": get_name_now(row.name)})
    with _server(variant) as server:
        url = closed_port_url() if server is None else server.url
        if case.program == "case":
            command = [python, "-m", "benchmarks.child", module_name, row.adapter, url, given]
        else:
            mode = variant.given.get("mode", case.program)
            command = [python, "-c", _START, mode, row.adapter, url, given]
        figures = _child(command, variant.limit, _environment(row, server))
        if "unavailable" in figures:
            raise Unavailable(figures["unavailable"])
        time.sleep(_SETTLE)
        counts = {} if server is None else server.summary()
    if variant.counted:
        figures.update(count_losses(int(figures["expected"]), counts))
    subject_module = importlib.import_module(f"benchmarks.cases.{subject}")
    finish = getattr(subject_module, "finish", getattr(module, "finish", None))
    if finish is not None:
        figures.update(finish(figures, counts))
    return figures


@contextmanager
def _server(variant: Variant) -> Iterator[ServerProcess | None]:
    if variant.server == "refusing":
        yield None
        return
    hang, encrypted = variant.server == "hanging", variant.server == "encrypted"
    with run_server(delay=variant.delay, hang=hang, encrypted=encrypted) as server:
        yield server


def _child(command: list[str], limit: float, environment: dict[str, str]) -> dict[str, Any]:
    """Run the measured process; keep the time of its end, and kill it if it takes too long."""
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    killed = False
    try:
        output, errors = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        killed = True
        process.kill()
        output, errors = process.communicate()
    exited_ns = time.monotonic_ns()
    line = next((line for line in output.splitlines() if line.startswith("{")), None)
    if line is None:
        last = (errors.strip().splitlines() or ["no output"])[-1][:_MAX_SHOWN]
        raise Unavailable(f"no figures within {limit:.0f} s" if killed else f"failed: {last}")
    figures: dict[str, Any] = json.loads(line)
    return {**figures, "exited_ns": exited_ns, "killed": killed}


def _environment(row: Row, server: ServerProcess | None) -> dict[str, str]:
    """Return an environment without settings for any package, and without proxies."""
    inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    path = os.pathsep.join([*([row.path] if row.path else []), str(ROOT)])
    trusted = {} if server is None else server.environment
    return {
        **inherited,
        "PYTHONPATH": path,
        "PYTHONHASHSEED": "0",
        "NO_PROXY": "*",
        **trusted,
    }
