"""Draws bars as SVG: a figure per row, its range as a line. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

from benchmarks.packages import OURS
from benchmarks.report import format_number
from benchmarks.summary import get_spread

if TYPE_CHECKING:
    from benchmarks.case import Case

_WIDTH, _LEFT, _RIGHT, _BAR, _GAP, _TOP = 720, 150, 110, 18, 8, 34  # pixels
_OURS, _THEIRS, _RANGE, _TEXT = "#2f6f4f", "#9aa5b1", "#44505c", "#1f2933"


def bars(case: Case, values: dict[str, dict[str, list[float]]]) -> str:
    """Return the case's figure for every row as an SVG drawing."""
    figure = next(one for one in case.figures if one.name == case.plot)
    spreads = {
        row: get_spread(figures[figure.name])
        for row, figures in values.items()
        if figure.name in figures
    }
    most = max((spread.most for spread in spreads.values()), default=1.0) or 1.0
    scale = (_WIDTH - _LEFT - _RIGHT) / most
    height = _TOP + len(spreads) * (_BAR + _GAP) + _GAP
    unit = f", {figure.unit}" if figure.unit else ""
    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" '
            f'font-family="sans-serif" font-size="12" fill="{_TEXT}">'
        ),
        f'<rect width="{_WIDTH}" height="{height}" fill="white"/>',
        _text(8, 20, f"{case.title}: {figure.label}{unit} ({figure.best})", bold=True),
    ]
    for index, (row, spread) in enumerate(spreads.items()):
        y = _TOP + index * (_BAR + _GAP)
        length = max(spread.median, 0) * scale
        middle = y + _BAR / 2
        least, most_x = (_LEFT + max(value, 0) * scale for value in (spread.least, spread.most))
        parts += [
            _text(8, y + 13, row, bold=row == OURS),
            (
                f'<rect x="{_LEFT}" y="{y}" width="{length:.1f}" height="{_BAR}" '
                f'fill="{_OURS if row == OURS else _THEIRS}"/>'
            ),
            (
                f'<line x1="{least:.1f}" x2="{most_x:.1f}" y1="{middle}" y2="{middle}" '
                f'stroke="{_RANGE}" stroke-width="2"/>'
            ),
            _text(
                max(length + _LEFT, most_x) + 6, y + 13, format_number(spread.median, figure.digits)
            ),
        ]
    return "\n".join([*parts, "</svg>", ""])


def _text(x: float, y: float, text: str, *, bold: bool = False) -> str:
    weight = ' font-weight="bold"' if bold else ""
    return f'<text x="{x:.1f}" y="{y}"{weight}>{escape(text)}</text>'
