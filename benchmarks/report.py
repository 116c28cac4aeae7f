"""Formats figures as tables: medians with their range, ratios, losses. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks.case import HIGH, LOW, PLAIN
from benchmarks.packages import OURS, PUBLISHED
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
    lines = [f"### {case.title}", "", case.about, ""]
    if len(case.figures) == 1 and len(variants) > 1:
        return lines + _side_by_side(case, variants)
    for variant, table in variants.items():
        lines += [f"**{variant}**", ""] if variant else []
        lines += _table(case, table["values"], table["unavailable"])
    return lines


def _table(case: Case, values: Values, unavailable: dict[str, str]) -> list[str]:
    baseline = case.baseline or PUBLISHED
    heads = [_head(figure) for figure in case.figures]
    lines = [
        "| | " + " | ".join([*heads, f"ratio to {baseline}", "lost", "doubled"]) + " |",
        "|---" * (len(heads) + 4) + "|",
    ]
    for row, figures in values.items():
        cells = [_cell(figures, figure) for figure in case.figures]
        ratios = [_ratio(figures, values.get(baseline, {}), figure) for figure in case.figures]
        ratio_cell = " · ".join(part for part in ratios if part)
        lines.append(f"| {row} | " + " | ".join([*cells, ratio_cell, *_faults(figures)]) + " |")
    lines += [f"| {row} | not available: {reason} |" for row, reason in _to_rows(unavailable)]
    best = [text for figure in case.figures if (text := _best_peer(values, figure))]
    if best:
        lines += ["", "Ratio to the best peer: " + "; ".join(best) + "."]
    return [*lines, ""]


def _side_by_side(case: Case, variants: Mapping[str, Any]) -> list[str]:
    """Return one table for a case with one figure: a column per variant."""
    figure = case.figures[0]
    lines = [
        f"| {_head(figure)} | " + " | ".join([*variants, "lost", "doubled"]) + " |",
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
    if spread.least == spread.most:
        return text
    least, most = (format_number(value, figure.digits) for value in (spread.least, spread.most))
    return f"{text} ({least} to {most})"


def format_number(value: float, digits: int) -> str:
    """Return a number with thousands separators and few digits."""
    digits = 0 if abs(value) >= _WHOLE_FROM else digits
    return f"{round(value, digits) + 0.0:,.{digits}f}"  # no -0.00


def _ratio(figures: dict[str, list[float]], base: dict[str, list[float]], figure: Figure) -> str:
    if figure.best == PLAIN or figure.name not in figures or figure.name not in base:
        return ""
    found = ratio(get_spread(figures[figure.name]).median, get_spread(base[figure.name]).median)
    return "" if found is None else f"{found:.2f}"


def _faults(figures: dict[str, list[float]]) -> list[str]:
    """Return the lost and doubled events of all rounds together."""
    cells = []
    for name in ("lost", "doubled"):
        total = sum(figures[name]) if name in figures else None
        cells.append("-" if total is None else f"**{total:,.0f}**" if total else "0")
    return cells


def _best_peer(values: Values, figure: Figure) -> str:
    """Return our ratio to the best of the others that lost and doubled nothing."""
    whole = {
        row: get_spread(figures[figure.name]).median
        for row, figures in values.items()
        if row != OURS and figure.name in figures and not _is_faulty(figures)
    }
    ours = values.get(OURS, {}).get(figure.name)
    if figure.best == PLAIN or not whole or ours is None:
        return ""
    pick = {LOW: min, HIGH: max}[figure.best]
    name = pick(whole, key=whole.__getitem__)
    found = ratio(get_spread(ours).median, whole[name])
    return "" if found is None else f"{figure.label} {found:.2f} ({name})"


def _is_faulty(figures: dict[str, list[float]]) -> bool:
    return any(sum(figures.get(name, [])) for name in ("lost", "doubled"))


def _to_rows(unavailable: dict[str, str]) -> list[tuple[str, str]]:
    return [(row, " ".join(reason.split())) for row, reason in unavailable.items()]
