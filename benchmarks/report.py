"""Formats figures as tables: medians with their range, ratios, losses. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks.case import HIGH, LOW, PLAIN
from benchmarks.packages import OURS, PEERS, PUBLISHED
from benchmarks.registry import CASES
from benchmarks.summary import get_spread, ratio

if TYPE_CHECKING:
    from collections.abc import Mapping

    from benchmarks.case import Case, Figure

_WHOLE_FROM = 100  # larger values are shown without digits after the point

Values = dict[str, dict[str, list[float]]]


def to_lines(name: str, variants: Mapping[str, Any]) -> list[str]:
    """Return the section of one case as lines of Markdown."""
    case = CASES[name]
    lines = [f"## {case.title}", "", case.about, ""]
    if len(case.figures) == 1 and len(variants) > 1:
        return lines + _side_by_side(case, variants)
    for variant, table in variants.items():
        lines += [f"**{variant}**", ""] if variant else []
        lines += _table(case, table["values"], table["unavailable"])
    return lines


def _table(case: Case, values: Values, unavailable: dict[str, str]) -> list[str]:
    baseline, main = case.baseline or PUBLISHED, get_main_figure(case)
    is_compared = main.best != PLAIN and main.name in values.get(baseline, {})
    heads = [_head(figure) for figure in case.figures]
    heads += [f"{main.label}, times {baseline} {case.row_head}".rstrip()] if is_compared else []
    has_faults = any("lost" in figures for figures in values.values())
    heads += ["lost", "duplicated"] if has_faults else []
    lines = [f"| {case.row_head} | ".replace("|  |", "| |") + " | ".join(heads) + " |"]
    lines.append("|---" * (len(heads) + 1) + "|")
    for row, figures in values.items():
        cells = [_cell(figures, figure) for figure in case.figures]
        cells += [_ratio(figures, values[baseline], main)] if is_compared else []
        cells += _faults(figures) if has_faults else []
        lines.append(f"| {row} | " + " | ".join(cells) + " |")
    rest = " |" * len(heads)
    lines += [f"| {row} | not available: {reason}{rest}" for row, reason in _to_rows(unavailable)]
    best = _best_peer(values, main)
    return [*lines, *(["", best] if best else []), ""]


def get_main_figure(case: Case) -> Figure:
    """Return the main figure of a case: the one that is drawn, else the first."""
    return next((one for one in case.figures if one.name == case.plot), case.figures[0])


def _side_by_side(case: Case, variants: Mapping[str, Any]) -> list[str]:
    """Return one table for a case with one figure: a column per variant."""
    figure = case.figures[0]
    lines = [
        f"| {_head(figure)} | " + " | ".join([*variants, "lost", "duplicated"]) + " |",
        "|---" * (len(variants) + 3) + "|",
    ]
    rows = dict.fromkeys(
        row for table in variants.values() for row in (*table["values"], *table["unavailable"])
    )
    for row in rows:
        cells, faults = [], []
        for table in variants.values():
            figures = table["values"].get(row)
            reason = " ".join(table["unavailable"].get(row, "not run").split())
            cells.append(f"not available: {reason}" if figures is None else _cell(figures, figure))
            faults.append(_faults(figures or {}))
        worst = [" / ".join(column) for column in zip(*faults, strict=True)]
        lines.append(f"| {row} | " + " | ".join([*cells, *worst]) + " |")
    return [*lines, ""]


def _head(figure: Figure) -> str:
    return f"{figure.label}, {figure.unit}" if figure.unit else figure.label


def _cell(figures: dict[str, list[float]], figure: Figure) -> str:
    if figure.name not in figures:
        return ""
    spread = get_spread(figures[figure.name])
    text = format_number(spread.median, figure.digits)
    if any(figures.get("killed", [])):
        text = f"over {text} (ended by force)"
    least, most = (format_number(value, figure.digits) for value in (spread.least, spread.most))
    return text if least == most else f"{text} ({least} to {most})"


def format_number(value: float, digits: int) -> str:
    """Return a number with thousands separators and few digits."""
    digits = 0 if abs(value) >= _WHOLE_FROM else digits
    return f"{round(value, digits) + 0.0:,.{digits}f}"  # no -0.00


def format_figure(value: float, figure: Figure, *, exact: bool = False) -> str:
    """Return a value with its unit; with `exact`, do not round it, because it was not measured."""
    text = f"{value:,g}" if exact else format_number(value, figure.digits)
    return f"{text} {figure.unit}".rstrip()


def get_median(values: Values, row: str, figure: str) -> float | None:
    """Return the median of one figure of one row; None when it was not measured."""
    found = values.get(row, {}).get(figure)
    return get_spread(found).median if found else None


def _ratio(figures: dict[str, list[float]], base: dict[str, list[float]], figure: Figure) -> str:
    if figure.name not in figures:
        return ""
    found = ratio(get_spread(figures[figure.name]).median, get_spread(base[figure.name]).median)
    return "" if found is None else format_number(found, 2)


def _faults(figures: dict[str, list[float]]) -> list[str]:
    """Return the lost and duplicated events of all rounds together."""
    cells = []
    for name in ("lost", "doubled"):
        total = sum(figures[name]) if name in figures else None
        cells.append("-" if total is None else f"**{total:,.0f}**" if total else "0")
    return cells


def _best_peer(values: Values, figure: Figure) -> str:
    """Return a sentence that compares ours with the best of the others that had no faults."""
    whole = {
        row: median
        for row in (PUBLISHED, *PEERS)
        if (median := get_median(values, row, figure.name)) is not None
        and not _is_faulty(values[row])
    }
    ours = get_median(values, OURS, figure.name)
    if figure.best == PLAIN or not whole or ours is None:
        return ""
    pick = {LOW: min, HIGH: max}[figure.best]
    name = pick(whole, key=whole.__getitem__)
    found = ratio(ours, whole[name])
    if found is None:
        return ""
    times = format_number(found, 2)
    return f"{figure.label}: {times} times that of {name}, the best of the others."


def _is_faulty(figures: dict[str, list[float]]) -> bool:
    return any(sum(figures.get(name, [])) for name in ("lost", "doubled"))


def _to_rows(unavailable: dict[str, str]) -> list[tuple[str, str]]:
    return [(row, " ".join(reason.split())) for row, reason in unavailable.items()]
