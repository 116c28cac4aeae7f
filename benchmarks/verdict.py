"""Compares the figures with our targets, and finds where a peer is better. Pure."""

from __future__ import annotations

from typing import Any, NamedTuple

from benchmarks.case import HIGH, PLAIN
from benchmarks.packages import OURS, PUBLISHED
from benchmarks.registry import CASES
from benchmarks.report import format_number
from benchmarks.summary import get_spread


class Target(NamedTuple):
    """What a figure has to reach: as a ratio to the published SDK, or absolute."""

    case: str
    figure: str
    label: str
    most: float | None = None
    least: float | None = None
    absolute: bool = False
    variant: str = ""
    why: str = ""  # the reason that is shown where it is missed


_ENCODING = "more than half of a call in a row is encoding the properties."
TARGETS = (
    Target(
        "start",
        "import",
        "import time over bare",
        most=0.15,
    ),
    Target("burst", "p50", "`track()` in a burst, p50", most=0.45, why=_ENCODING),
    Target(
        "burst",
        "p99",
        "`track()` in a burst, p99",
        most=0.05,
        why="the target was set where 0.2.1 took 519 µs, so at 26 µs. Where 0.2.1 takes less, a "
        "twentieth of it can be less than the median call of either: one call in ten needs a new "
        "page of memory.",
    ),
    Target(
        "steady",
        "p50",
        "`track()` at a steady rate, p50",
        most=0.5,
        why="after each pause the caches of the processor are cold. Encoding the properties alone "
        "then takes 8 µs, in a row 2.",
    ),
    Target("throughput", "rate", "throughput", least=4.0, why=_ENCODING),
    Target("throughput", "cpu", "CPU per 1,000 events", most=0.3, why=_ENCODING),
    Target("throughput", "connections", "connections", most=1, absolute=True),
    Target("memory", "bytes", "bytes per held event", most=0.3),
    Target("memory", "objects", "objects for the collector, per event", most=0, absolute=True),
    Target(
        "slowdown",
        "slowdown",
        "slowdown of the application",
        most=0.10,
        why="the target was set where 0.2.1 cost the loop 55 %, so at 5.5 %. Two threads share one "
        "interpreter, so that what an event costs is added to the step: with the caches cold after "
        "a step that computes, 13 µs for the call and some 8 µs for the delivery.",
    ),
    Target(
        "exit",
        "seconds",
        "exit, hanging server, seconds",
        most=10.5,
        absolute=True,
        variant="hanging server",
    ),
)


class CheckedTarget(NamedTuple):
    """A target with what was measured; `found` is None when nothing was."""

    target: Target
    ours: float | None
    theirs: float | None
    found: float | None
    reached: bool


def check_targets(cases: dict[str, Any]) -> list[CheckedTarget]:
    """Return every target with whether the figures reach it."""
    return [
        _check_target(target, cases.get(target.case, {}).get(target.variant, {}))
        for target in TARGETS
    ]


def _check_target(target: Target, table: dict[str, Any]) -> CheckedTarget:
    values = table.get("values", {})
    ours, theirs = (_median(values, row, target.figure) for row in (OURS, PUBLISHED))
    if ours is None or (theirs is None and not target.absolute):
        return CheckedTarget(target, ours, theirs, None, reached=False)
    found = ours if target.absolute else ours / (theirs or 1.0)
    reached = found <= target.most if target.most is not None else found >= (target.least or 0.0)
    return CheckedTarget(target, ours, theirs, found, reached)


def to_target_lines(cases: dict[str, Any]) -> list[str]:
    """Return a table: each figure, the ratio to the published SDK, what it has to reach."""
    lines = [
        f"| figure | {OURS} | {PUBLISHED} | ratio | to reach | |",
        "|---|---|---|---|---|---|",
    ]
    for target, ours, theirs, found, reached in check_targets(cases):
        if ours is None or found is None:
            lines.append(f"| {target.label} | | | | | not measured |")
            continue
        limit = f"≥ {target.least:g}" if target.most is None else f"≤ {target.most:g}"
        digits = next(one.digits for one in CASES[target.case].figures if one.name == target.figure)
        lines.append(
            f"| {target.label} | {format_number(ours, digits)} | "
            f"{'' if theirs is None else format_number(theirs, digits)} | "
            f"{'' if target.absolute else f'{found:.2f}'} | {limit} | "
            f"{'reached' if reached else '**missed**'} |"
        )
    return [*lines, ""]


def to_missed_lines(cases: dict[str, Any]) -> list[str]:
    """Return a line for each target that was missed, with the reason."""
    return [
        f"- {one.target.label}: {one.target.why or 'no reason is known'}"
        for one in check_targets(cases)
        if one.found is not None and not one.reached
    ] or ["Nothing of what was measured."]


def to_better_peer_lines(cases: dict[str, Any]) -> list[str]:
    """Return a line for each figure in which another package is better than ours."""
    lines = []
    for name, variants in cases.items():
        case = CASES[name]
        for variant, table in variants.items():
            for figure in case.figures:
                better = _better(table["values"], figure)
                if better:
                    where = f"{case.title}, {variant}" if variant else case.title
                    lines.append(f"- {where}: {figure.label}: {better}")
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
        texts.append(f"{row} {format_number(value, figure.digits)}{note}")
    return f"{OURS} {format_number(ours, figure.digits)}; " + ", ".join(texts) if texts else ""


def _median(values: dict[str, Any], row: str, figure: str) -> float | None:
    found = values.get(row, {}).get(figure)
    return get_spread(found).median if found else None
