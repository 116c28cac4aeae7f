"""Whether the figures reach what we set ourselves, and where a peer is better. Pure."""

from __future__ import annotations

from typing import Any, NamedTuple

from benchmarks.case import HIGH, PLAIN
from benchmarks.packages import OURS, PUBLISHED
from benchmarks.registry import CASES
from benchmarks.report import shown
from benchmarks.summary import spread_of


class Bar(NamedTuple):
    """What a figure has to reach: as a ratio to the published SDK, or by itself."""

    case: str
    figure: str
    label: str
    most: float | None = None
    least: float | None = None
    absolute: bool = False
    variant: str = ""


BARS = (
    Bar("start", "import", "import time over bare", most=0.15),
    Bar("burst", "p50", "`track()` in a burst, p50", most=0.45),
    Bar("burst", "p99", "`track()` in a burst, p99", most=0.05),
    Bar("steady", "p50", "`track()` at a steady rate, p50", most=0.5),
    Bar("throughput", "rate", "throughput", least=4.0),
    Bar("throughput", "cpu", "CPU per 1,000 events", most=0.3),
    Bar("throughput", "connections", "connections", most=1, absolute=True),
    Bar("memory", "bytes", "bytes per held event", most=0.3),
    Bar("memory", "objects", "objects for the collector, per event", most=0, absolute=True),
    Bar("slowdown", "slowdown", "slowdown of the application", most=0.10),
    Bar("exit", "seconds", "exit, hanging server, seconds", 10.5, None, True, "hanging server"),  # noqa: FBT003  # an entry of a table
)


def lines_of_bars(cases: dict[str, Any]) -> list[str]:
    """Return a table: each figure, the ratio to the published SDK, what it has to reach."""
    lines = [
        f"| figure | {OURS} | {PUBLISHED} | ratio | to reach | |",
        "|---|---|---|---|---|---|",
    ]
    for bar in BARS:
        values = cases.get(bar.case, {}).get(bar.variant, {}).get("values", {})
        ours, theirs = (_median(values, row, bar.figure) for row in (OURS, PUBLISHED))
        if ours is None or (theirs is None and not bar.absolute):
            lines.append(f"| {bar.label} | | | | | not measured |")
            continue
        found = ours if bar.absolute else ours / (theirs or 1.0)
        limit = bar.least if bar.most is None else bar.most
        assert limit is not None
        reached = found >= limit if bar.most is None else found <= limit
        sign = "≥" if bar.most is None else "≤"
        digits = next(one.digits for one in CASES[bar.case].figures if one.name == bar.figure)
        other = "" if theirs is None else shown(theirs, digits)
        lines.append(
            f"| {bar.label} | {shown(ours, digits)} | {other} | "
            f"{'' if bar.absolute else f'{found:.2f}'} | {sign} {limit:g} | "
            f"{'reached' if reached else '**missed**'} |"
        )
    return [*lines, ""]


def lines_of_reading(cases: dict[str, Any]) -> list[str]:
    """Return a line for each figure in which another package is better than ours."""
    lines = []
    for name, variants in cases.items():
        case = CASES[name]
        for variant, table in variants.items():
            for figure in case.figures:
                better = _better(table["values"], figure)
                if better:
                    place = f"{case.title}, {variant}" if variant else case.title
                    lines.append(f"- {place}: {figure.label}: {better}")
    return lines or ["In no figure of this run."]


def _better(values: dict[str, Any], figure: Any) -> str:  # noqa: ANN401  # a Figure
    ours = _median(values, OURS, figure.name)
    if ours is None or figure.best == PLAIN:
        return ""
    others = {row: _median(values, row, figure.name) for row in values if row != OURS}
    texts = []
    for row, value in others.items():
        if value is None or not (value > ours if figure.best == HIGH else value < ours):
            continue
        lost = sum(values[row].get("lost", []))
        note = f" (and lost {lost:,.0f} events)" if lost else ""
        texts.append(f"{row} {shown(value, figure.digits)}{note}")
    return f"{OURS} {shown(ours, figure.digits)}; " + ", ".join(texts) if texts else ""


def _median(values: dict[str, Any], row: str, figure: str) -> float | None:
    found = values.get(row, {}).get(figure)
    return spread_of(found).median if found else None
