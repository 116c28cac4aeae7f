"""Draws the results of a fleet as one SVG: requests per second over time. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

from benchmarks.fleet_figures import get_figures, windows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.fleet_run import Result

_WIDTH, _PANEL, _LEFT, _RIGHT, _TOP, _FOOT = 760, 150, 60, 16, 24, 24  # pixels
_LINE, _STEADY, _TROUBLE, _TEXT = "#2f6f4f", "#b4540a", "#f3dcdc", "#1f2933"


def to_drawing(results: Sequence[Result]) -> str:
    """Return one panel per result, below each other."""
    each = _TOP + _PANEL + _FOOT
    height = each * len(results)
    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" '
            f'font-family="sans-serif" font-size="11" fill="{_TEXT}">'
        ),
        f'<rect width="{_WIDTH}" height="{height}" fill="white"/>',
    ]
    for index, result in enumerate(results):
        parts += [f'<g transform="translate(0 {index * each})">', *_panel(result), "</g>"]
    return "\n".join([*parts, "</svg>", ""])


def _panel(result: Result) -> list[str]:
    figures = get_figures(result)
    rates = windows(result.requests)
    across = (_WIDTH - _LEFT - _RIGHT) / len(rates)
    most = max(*rates, 2 * figures.steady) * 1.05
    bottom = _TOP + _PANEL

    def to_y(rate: float) -> float:
        return bottom - rate / most * _PANEL

    scenario = result.scenario
    parts = [
        (
            f'<text x="{_LEFT}" y="15" font-weight="bold">{escape(scenario.name)}: '
            "requests per second</text>"
        )
    ]
    span = scenario.deploy
    if scenario.trouble is not None:
        span = (scenario.trouble.start, scenario.trouble.end)
    if span is not None:
        start, end = span
        width = max((end - start) * across, 1)
        parts.append(
            f'<rect x="{_LEFT + start * across:.1f}" y="{_TOP}" width="{width:.1f}" '
            f'height="{_PANEL}" fill="{_TROUBLE}"/>'
        )
    for times, label in ((1, "steady"), (2, "twice")):
        y = to_y(times * figures.steady)
        parts += [
            (
                f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" '
                f'stroke="{_STEADY}" stroke-dasharray="4 3"/>'
            ),
            f'<text x="{_LEFT - 5}" y="{y + 4:.1f}" text-anchor="end">{label}</text>',
        ]
    points = " ".join(
        f"{_LEFT + second * across:.1f},{to_y(rate):.1f}" for second, rate in enumerate(rates)
    )
    parts.append(f'<polyline points="{points}" fill="none" stroke="{_LINE}"/>')
    for minute in range(0, len(rates) // 60 + 1, 2):
        parts.append(
            f'<text x="{_LEFT + minute * 60 * across:.1f}" y="{bottom + 14}" '
            f'text-anchor="middle">{minute} min</text>'
        )
    return parts
