"""Simulates a fleet through an outage, a rate limit and deploys, and checks for stampedes.

    python -m benchmarks.fleet [--processes N] [--seed N] [--write]

The real scheduler runs in 10,000 simulated processes (`fleet_process`). `--write` rewrites the
figures and the drawing of docs/delivery/operations.md.
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from benchmarks.fleet_figures import WINDOW, Figures, get_figures
from benchmarks.fleet_plot import to_drawing
from benchmarks.fleet_run import EVENTS_PER_SECOND, Fleet, Result, Scenario
from benchmarks.fleet_server import Trouble

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "delivery" / "operations.md"
DRAWING = ROOT / "docs" / "delivery" / "operations.svg"
BEGIN, END = "<!-- fleet: written by `make fleet` -->", "<!-- /fleet -->"

PROCESSES = 10_000
SEED = 8
QUEUE = 10_000  # the default of max_queue_size
QUEUES = (30, 60, 90, 120, 150, 200)
_SWEEP_SHARE = 10  # one in ten processes is enough to see what a size sheds


def scenarios(processes: int) -> list[Scenario]:
    """Return the scenarios; the limit of the second is half of the steady rate."""
    half = int(processes * 0.034)
    return [
        Scenario("Outage", "503 for ten minutes", 1200, Trouble(120, 720)),
        Scenario(
            "Rate limit",
            f"{half} requests a second for ten minutes, 429 with Retry-After 10 for the rest",
            1200,
            Trouble(120, 720, limit=half, status=429, retry_after=10),
        ),
        Scenario("Rolling deploy", "all restart within two minutes", 480, deploy=(120, 240)),
        Scenario("Deploy at once", "all restart within five seconds", 480, deploy=(120, 125)),
    ]


def to_table(results: list[Result]) -> list[str]:
    """Return the figures of every result as lines of Markdown."""
    lines = [
        (
            "| scenario | steady, requests/s | peak during, requests/s | peak after, requests/s "
            "| peak after, times steady | drained after | events dropped | events lost at restart |"
        ),
        "|---|---|---|---|---|---|---|---|",
    ]
    for result in results:
        figures: Figures = get_figures(result)
        drained = "not" if figures.drained_after is None else f"{figures.drained_after} s"
        during = f"{figures.peak_during:,.0f}" if result.scenario.trouble else ""
        lines.append(
            f"| {result.scenario.name}: {result.scenario.about} | {figures.steady:,.0f} | {during} "
            f"| {figures.peak_after:,.0f} | {figures.ratio:.2f} | {drained} | {figures.shed:,} "
            f"| {figures.lost_at_restart:,} |"
        )
    return lines


def to_sweep_table(outage: Scenario, processes: int, seed: int) -> list[str]:
    """Return what smaller queues lose in the outage, as lines of Markdown."""
    lines = [
        "| `max_queue_size` | holds | events lost | share of all events |",
        "|---|---|---|---|",
    ]
    for queue in QUEUES:
        result = Fleet(outage, processes, queue, seed).run()
        minutes = queue / EVENTS_PER_SECOND / 60
        share = 100 * result.shed / result.accepted
        lines.append(f"| {queue} | {minutes:.1f} min | {result.shed:,} | {share:.1f} % |")
    return lines


def main() -> int:
    """Simulate, print, and write the page if asked; exit with 1 when a fleet stampedes."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--processes", type=int, default=PROCESSES)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--write", action="store_true", help="write docs/delivery/operations.md")
    given = parser.parse_args()
    logging.getLogger("whisperr").disabled = True  # thousands of processes would report one outage
    fleet_scenarios = scenarios(given.processes)
    results = [Fleet(one, given.processes, QUEUE, given.seed).run() for one in fleet_scenarios]
    small = max(given.processes // _SWEEP_SHARE, 1)
    text = [
        (
            f"{given.processes:,} processes, {EVENTS_PER_SECOND:g} events per second each, default "
            f"options, seed {given.seed}. Rates are means over {WINDOW} seconds.\n"
        ),
        *to_table(results),
        "",
        f"The same outage with smaller queues, {small:,} processes:\n",
        *to_sweep_table(fleet_scenarios[0], small, given.seed),
    ]
    print("\n".join(text))
    if given.write:
        DRAWING.write_text(to_drawing(results), encoding="utf-8")
        page = PAGE.read_text(encoding="utf-8")
        head, rest = page.split(BEGIN)
        tail = rest.split(END)[1]
        PAGE.write_text("\n".join([head + BEGIN, "", *text, "", END + tail]), encoding="utf-8")
        print(f"wrote {PAGE.relative_to(ROOT)} and its drawing")
    return 1 if any(get_figures(result).ratio >= 2 for result in results[:2]) else 0


if __name__ == "__main__":
    sys.exit(main())
