"""Simulate a fleet through an outage, a rate limit and deploys: whether it returns at once.

    python -m benchmarks.fleet [--processes N] [--seed N] [--write]

The real worker decides in 10,000 simulated processes (`fleet_process`). With --write the figures
and the drawing of docs/operations.md are made anew.
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from benchmarks.fleet_figures import WINDOW, Figures, figures_of
from benchmarks.fleet_plot import drawing_of
from benchmarks.fleet_run import EVENTS_PER_SECOND, Fleet, Scenario, Story
from benchmarks.fleet_server import Trouble

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "operations.md"
DRAWING = ROOT / "docs" / "operations.svg"
BEGIN, END = "<!-- fleet: written by `make fleet` -->", "<!-- /fleet -->"

PROCESSES = 10_000
SEED = 8
QUEUE = 10_000  # the default of max_queue_size
QUEUES = (30, 60, 90, 120, 150, 200)
_SWEEP_SHARE = 10  # one in ten processes is enough to see what a size sheds


def scenarios(processes: int) -> list[Scenario]:
    """Return the stories; the limit of the second is half of what the fleet sends."""
    half = int(processes * 0.034)
    return [
        Scenario("Outage", "503 for ten minutes", 1200, Trouble(120, 720)),
        Scenario(
            "Rate limit",
            f"{half} requests a second for ten minutes, 429 with Retry-After 10 for the others",
            1200,
            Trouble(120, 720, limit=half, status=429, retry_after=10),
        ),
        Scenario("Rolling deploy", "all restarted within two minutes", 480, deploy=(120, 240)),
        Scenario("Deploy at once", "all restarted within five seconds", 480, deploy=(120, 125)),
    ]


def table_of(stories: list[Story]) -> list[str]:
    """Return the figures of every story as lines of Markdown."""
    lines = [
        (
            "| story | steady, requests/s | most meanwhile | most afterwards | against steady "
            "| drained after | shed | lost at restart |"
        ),
        "|---|---|---|---|---|---|---|---|",
    ]
    for story in stories:
        figures: Figures = figures_of(story)
        drained = "not" if figures.drained_after is None else f"{figures.drained_after} s"
        during = f"{figures.peak_during:,.0f}" if story.scenario.trouble else ""
        lines.append(
            f"| {story.scenario.name}: {story.scenario.about} | {figures.steady:,.0f} | {during} "
            f"| {figures.peak_after:,.0f} | {figures.ratio:.2f} | {drained} | {figures.shed:,} "
            f"| {figures.lost_at_restart:,} |"
        )
    return lines


def sweep_of(outage: Scenario, processes: int, seed: int) -> list[str]:
    """Return what smaller queues lose in the outage, as lines of Markdown."""
    lines = [
        "| `max_queue_size` | holds | events lost | of all |",
        "|---|---|---|---|",
    ]
    for queue in QUEUES:
        story = Fleet(outage, processes, queue, seed).run()
        minutes = queue / EVENTS_PER_SECOND / 60
        share = 100 * story.shed / story.accepted
        lines.append(f"| {queue} | {minutes:.1f} min | {story.shed:,} | {share:.1f} % |")
    return lines


def main() -> int:
    """Simulate, print, and write the page if asked; ends with 1 when a fleet stampedes."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--processes", type=int, default=PROCESSES)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--write", action="store_true", help="write docs/operations.md")
    given = parser.parse_args()
    logging.getLogger("whisperr").disabled = True  # thousands of processes would tell of one outage
    told = scenarios(given.processes)
    stories = [Fleet(one, given.processes, QUEUE, given.seed).run() for one in told]
    small = max(given.processes // _SWEEP_SHARE, 1)
    text = [
        (
            f"{given.processes:,} processes, {EVENTS_PER_SECOND:g} events per second each, default "
            f"options, seed {given.seed}. Rates are means of {WINDOW} seconds.\n"
        ),
        *table_of(stories),
        "",
        f"The outage with smaller queues, {small:,} processes:\n",
        *sweep_of(told[0], small, given.seed),
    ]
    print("\n".join(text))
    if given.write:
        DRAWING.write_text(drawing_of(stories), encoding="utf-8")
        page = PAGE.read_text(encoding="utf-8")
        head, rest = page.split(BEGIN)
        tail = rest.split(END)[1]
        PAGE.write_text("\n".join([head + BEGIN, "", *text, "", END + tail]), encoding="utf-8")
        print(f"wrote {PAGE.relative_to(ROOT)} and its drawing")
    return 1 if any(figures_of(story).ratio >= 2 for story in stories[:2]) else 0


if __name__ == "__main__":
    sys.exit(main())
