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
    why: str = ""  # what is to be said where it is missed


_ENCODING = "more than half of a call in a row is encoding the properties."
BARS = (
    Bar(
        "start",
        "import",
        "import time over bare",
        most=0.15,
    ),
    Bar("burst", "p50", "`track()` in a burst, p50", most=0.45, why=_ENCODING),
    Bar(
        "burst",
        "p99",
        "`track()` in a burst, p99",
        most=0.05,
        why="the bar was set where 0.2.1 took 519 µs, so at 26 µs. Where 0.2.1 takes less, a "
        "twentieth of it can be less than the median call of either: one call in ten needs a new "
        "page of memory.",
    ),
    Bar(
        "steady",
        "p50",
        "`track()` at a steady rate, p50",
        most=0.5,
        why="after each pause the caches of the processor are cold. Encoding the properties alone "
        "then takes 8 µs, in a row 2.",
    ),
    Bar("throughput", "rate", "throughput", least=4.0, why=_ENCODING),
    Bar("throughput", "cpu", "CPU per 1,000 events", most=0.3, why=_ENCODING),
    Bar("throughput", "connections", "connections", most=1, absolute=True),
    Bar("memory", "bytes", "bytes per held event", most=0.3),
    Bar("memory", "objects", "objects for the collector, per event", most=0, absolute=True),
    Bar(
        "slowdown",
        "slowdown",
        "slowdown of the application",
        most=0.10,
        why="the bar was set where 0.2.1 cost the loop 55 %, so at 5.5 %. Two threads share one "
        "interpreter, so that what an event costs is added to the step: with the caches cold after "
        "a step that computes, 13 µs for the call and some 8 µs for the delivery.",
    ),
    Bar(
        "exit",
        "seconds",
        "exit, hanging server, seconds",
        most=10.5,
        absolute=True,
        variant="hanging server",
    ),
)


class Judged(NamedTuple):
    """A bar beside what was measured; `found` is None when it was not."""

    bar: Bar
    ours: float | None
    theirs: float | None
    found: float | None
    reached: bool


def judged(cases: dict[str, Any]) -> list[Judged]:
    """Return every bar with whether the figures reach it."""
    return [_judged(bar, cases.get(bar.case, {}).get(bar.variant, {})) for bar in BARS]


def _judged(bar: Bar, table: dict[str, Any]) -> Judged:
    values = table.get("values", {})
    ours, theirs = (_median(values, row, bar.figure) for row in (OURS, PUBLISHED))
    if ours is None or (theirs is None and not bar.absolute):
        return Judged(bar, ours, theirs, None, reached=False)
    found = ours if bar.absolute else ours / (theirs or 1.0)
    reached = found <= bar.most if bar.most is not None else found >= (bar.least or 0.0)
    return Judged(bar, ours, theirs, found, reached)


def lines_of_bars(cases: dict[str, Any]) -> list[str]:
    """Return a table: each figure, the ratio to the published SDK, what it has to reach."""
    lines = [
        f"| figure | {OURS} | {PUBLISHED} | ratio | to reach | |",
        "|---|---|---|---|---|---|",
    ]
    for bar, ours, theirs, found, reached in judged(cases):
        if ours is None or found is None:
            lines.append(f"| {bar.label} | | | | | not measured |")
            continue
        limit = f"≥ {bar.least:g}" if bar.most is None else f"≤ {bar.most:g}"
        digits = next(one.digits for one in CASES[bar.case].figures if one.name == bar.figure)
        lines.append(
            f"| {bar.label} | {shown(ours, digits)} | "
            f"{'' if theirs is None else shown(theirs, digits)} | "
            f"{'' if bar.absolute else f'{found:.2f}'} | {limit} | "
            f"{'reached' if reached else '**missed**'} |"
        )
    return [*lines, ""]


def lines_of_missed(cases: dict[str, Any]) -> list[str]:
    """Return a line for each bar that was measured and missed: what is to be said of it."""
    return [
        f"- {one.bar.label}: {one.bar.why or 'no reason is known'}"
        for one in judged(cases)
        if one.found is not None and not one.reached
    ] or ["Nothing of what was measured."]


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
