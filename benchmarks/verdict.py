"""The targets for figures, as data, and where a peer is better. Pure."""

from __future__ import annotations

from typing import Any, NamedTuple

from benchmarks import stores
from benchmarks.base import get_name_before
from benchmarks.case import HIGH, PLAIN
from benchmarks.packages import OURS, PEERS, PUBLISHED
from benchmarks.registry import CASES
from benchmarks.report import format_figure, get_median

BEST_OF_OTHERS = "the best other package"


class Bar(NamedTuple):
    """The target for a figure of one row, alone or as a multiple of another row's figure.

    `to`: the other row; BEST_OF_OTHERS is the best of all packages that lost nothing. The target is
    `most` or `least`; with `strict`, the figure must be better than it.
    """

    case: str
    figure: str
    label: str
    most: float | None = None
    least: float | None = None
    row: str = OURS
    to: str = ""
    variant: str = ""
    strict: bool = False
    why: str = ""  # the reason to show if it is missed


_COLD = "after each pause, the processor's caches are cold for everything that runs"
_OTHER_MACHINE = (
    "the target comes from a machine on which 0.2.1 took twice as long; "
    "whisperr itself is as fast as before"
)
_SQLITE_BEFORE = get_name_before(stores.SQLITE)
BARS = (
    Bar("start", "import", "`import whisperr`", 0.15, to=PUBLISHED, why=_OTHER_MACHINE),
    Bar("burst", "times", "`track()` in a burst, p50", most=1.5),
    Bar("burst", "times99", "`track()` in a burst, p99", most=4),
    Bar("steady", "p50", "`track()` at a steady rate, p50", most=0.5, to=PUBLISHED, why=_COLD),
    Bar("slowdown", "slowdown", "slowdown of the application", most=5),
    Bar("slowdown", "slowdown", "slowdown of the application", 1, to=BEST_OF_OTHERS, strict=True),
    Bar("throughput", "times", "CPU per delivered event", most=4),
    Bar("throughput", "rate", "throughput", least=4, to=PUBLISHED, why=_OTHER_MACHINE),
    Bar("throughput", "connections", "connections", most=1),
    Bar("memory", "bytes", "memory per held event", most=0.3, to=PUBLISHED),
    Bar("memory", "objects", "objects per held event, for the garbage collector", most=0),
    Bar("exit", "seconds", "exit with a hanging server", most=10.5, variant="hanging server"),
    Bar("buffers", "p50", "SQLite: a call, p50", 0.25, row=stores.SQLITE, to=_SQLITE_BEFORE),
    Bar("buffers", "p999", "SQLite: a call, p99.9", 0.1, row=stores.SQLITE, to=_SQLITE_BEFORE),
    Bar(
        "buffers",
        "rate",
        "SQLite, end to end",
        least=2.5,
        row=stores.SQLITE,
        to=_SQLITE_BEFORE,
    ),
    Bar("buffers", "p50", "Redis: a call, p50", most=2, row=stores.REDIS, to=stores.MEMORY),
    Bar("buffers", "rate", "Redis, end to end", least=30_000, row=stores.REDIS),
)


class Check(NamedTuple):
    """A target with what was measured: the figure, and what is compared with the target.

    Both are None if the figure, or the one it is compared with, was not measured.
    """

    bar: Bar
    figure: float | None = None
    found: float | None = None
    reached: bool = False


def check_bars(cases: dict[str, Any]) -> list[Check]:
    """Return every target, and whether the figures reach it."""
    return [_check(bar, cases.get(bar.case, {}).get(bar.variant, {})) for bar in BARS]


def _check(bar: Bar, table: dict[str, Any]) -> Check:
    values = table.get("values", {})
    figure = get_median(values, bar.row, bar.figure)
    other = _get_other(bar, values)
    if figure is None or (bar.to and not other):
        return Check(bar)
    found = figure / other if other else figure
    if bar.most is not None:
        reached = found < bar.most if bar.strict else found <= bar.most
    else:
        reached = found >= (bar.least or 0.0)
    return Check(bar, figure, found, reached)


def _get_other(bar: Bar, values: dict[str, Any]) -> float | None:
    """Return the figure to compare with; None if the target stands alone."""
    if bar.to != BEST_OF_OTHERS:
        return get_median(values, bar.to, bar.figure) if bar.to else None
    whole = [row for row in (PUBLISHED, *PEERS) if not sum(values.get(row, {}).get("lost", []))]
    medians = [get_median(values, row, bar.figure) for row in whole]
    measured = [one for one in medians if one is not None]
    if not measured:
        return None
    return max(measured) if _get_figure(bar).best == HIGH else min(measured)


def to_bar_lines(cases: dict[str, Any]) -> list[str]:
    """Return a table of the measured figures and their targets."""
    lines = ["| figure | measured | as a multiple | target | result |", "|---|---|---|---|---|"]
    for bar, figure, found, reached in check_bars(cases):
        if figure is None or found is None:
            continue
        multiple = f"{found:.2f} times {bar.to}" if bar.to else ""
        lines.append(
            f"| {bar.label} | {format_figure(figure, _get_figure(bar))} | {multiple} | "
            f"{_to_limit(bar)} | {'reached' if reached else '**missed**'} |"
        )
    left = [check.bar for check in check_bars(cases) if check.found is None]
    names = "; ".join(f"{bar.label}{f' beside {bar.to}' if bar.to else ''}" for bar in left)
    return [*lines, "", *([f"Not measured: {names}.", ""] if left else [])]


def _to_limit(bar: Bar) -> str:
    """Return the target with its unit."""
    sign, limit = ("≥", bar.least) if bar.most is None else ("≤", bar.most)
    value = 0.0 if limit is None else limit
    if bar.strict:
        return f"less than {bar.to}" if value == 1 else f"less than {value:g} times {bar.to}"
    if bar.to:
        return f"{sign} {value:g} times {bar.to}"
    return f"{sign} {format_figure(value, _get_figure(bar), exact=True)}"


def _get_figure(bar: Bar) -> Any:  # noqa: ANN401  # a Figure
    return next(one for one in CASES[bar.case].figures if one.name == bar.figure)


def to_missed_lines(cases: dict[str, Any]) -> list[str]:
    """Return a line for each missed target, with the reason."""
    return [
        f"- {one.bar.label} ({_to_limit(one.bar)}): {one.bar.why or 'no reason is known'}"
        for one in check_bars(cases)
        if one.found is not None and not one.reached
    ]


def to_better_peer_lines(cases: dict[str, Any]) -> list[str]:
    """Return a line for each figure in which another package is better than whisperr."""
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
    ours = get_median(values, OURS, figure.name)
    if ours is None or figure.best == PLAIN:
        return ""
    texts = []
    for row in (PUBLISHED, *PEERS):
        value = get_median(values, row, figure.name)
        if value is None or not (value > ours if figure.best == HIGH else value < ours):
            continue
        if format_figure(value, figure) == format_figure(ours, figure):
            continue
        lost = sum(values[row].get("lost", []))
        note = f" (and lost {lost:,.0f} events)" if lost else ""
        texts.append(f"{row} {format_figure(value, figure)}{note}")
    return f"{OURS} {format_figure(ours, figure)}; " + ", ".join(texts) if texts else ""
