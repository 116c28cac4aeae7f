"""Sums up the figures in a few sentences. Pure.

Sentences whose figures were not measured are left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks import stores
from benchmarks.packages import OURS, PEERS, PUBLISHED
from benchmarks.registry import CASES
from benchmarks.report import format_figure, format_number, get_median

if TYPE_CHECKING:
    from collections.abc import Iterator


def to_overview_lines(cases: dict[str, Any]) -> list[str]:
    """Return the sentences as a list of Markdown."""
    return [f"- {text}" for text in _say(cases)]


def _say(cases: dict[str, Any]) -> Iterator[str]:
    p50, p99, times = (_show(cases, "burst", name) for name in ("p50", "p99", "times"))
    if p50:
        yield (
            f"**A call of `track()` takes {p50}**, and 99 of 100 take at most {p99}. The median is "
            f"{times} of the same properties, in the same process; encoding sets the floor."
        )
    slowdown = _show(cases, "slowdown", "slowdown")
    if slowdown:
        yield (
            f"**An application that computes for half a millisecond per event becomes {slowdown} "
            f"slower**, including delivery{_beside_others(cases)}."
        )
    cpu, of_floor = _show(cases, "throughput", "cpu"), _show(cases, "throughput", "times")
    if cpu:
        yield (
            f"An event costs {cpu} of CPU time in all, {of_floor}. One process "
            f"delivers {_show(cases, 'throughput', 'rate')} over one connection."
        )
    loading, memory = _show(cases, "start", "import"), _show(cases, "memory", "bytes")
    if loading and memory:
        yield f"`import whisperr` takes {loading}. A waiting event takes {memory}."
    stored = [text for row in (stores.SQLITE, stores.REDIS) if (text := _say_stored(cases, row))]
    if stored:
        yield f"With a durable buffer, a call takes {' or '.join(stored)}."
    yield _say_faults(cases)


def _beside_others(cases: dict[str, Any]) -> str:
    values = cases["slowdown"][""]["values"]
    others = [get_median(values, row, "slowdown") for row in (PUBLISHED, *PEERS)]
    found = [one for one in others if one is not None]
    if not found:
        return ""
    least, most = (format_number(pick(found), 1) for pick in (min, max))
    return f" (with other packages, {least} to {most} %)"


def _say_stored(cases: dict[str, Any], row: str) -> str:
    p50, rate = (_show(cases, "buffers", name, row) for name in ("p50", "rate"))
    return f"{p50} with {row} ({rate} delivered)" if p50 else ""


def _say_faults(cases: dict[str, Any]) -> str:
    """Return what became of the events of whisperr in all cases."""
    faults = sum(
        sum(figures.get(kind, []))
        for name, variants in cases.items()
        for table in variants.values()
        for row, figures in table["values"].items()
        for kind in ("lost", "doubled")
        if any(row == one.name for one in CASES[name].rows if one.adapter == "whisperr_now")
        or row == OURS
    )
    if faults:
        return f"**{faults:,.0f} events of whisperr were lost or duplicated: that is a fault.**"
    return "whisperr lost no event and delivered none twice in any measurement."


def _show(cases: dict[str, Any], case: str, figure: str, row: str = OURS) -> str:
    """Return a median with its unit; empty when it was not measured."""
    found = get_median(cases.get(case, {}).get("", {}).get("values", {}), row, figure)
    kind = next(one for one in CASES[case].figures if one.name == figure)
    return "" if found is None else format_figure(found, kind)


def to_cost_lines(results: dict[str, Any]) -> list[str]:
    """Return the table of docs/delivery/durability.md: what a call costs with each buffer."""
    names = ("p50", "p99", "p999")
    lines = ["| buffer | p50 | p99 | p99.9 |", "|---|---|---|---|"]
    cases = results["cases"]
    for row in CASES["buffers"].rows:
        shown = [_show(cases, "buffers", name, row.name) for name in names]
        if all(shown):
            lines.append(f"| {row.name} | {' | '.join(shown)} |")
    machine, run = results["machine"], results["runs"]["buffers"]
    where = f"{machine['cores']} cores, {machine['system']}, {machine['python']}"
    how = f"Medians of {run['rounds']} processes per row, which deliver the events meanwhile"
    ranges = "[All measurements](../about/measurements.md#buffers) have the ranges."
    return [*lines, "", f"{how}; {where}. {ranges}"]
