"""Writes docs/about/performance.md, measurements.md, their drawings, a table of durability.md.

python -m benchmarks.page
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from benchmarks import record
from benchmarks.environments import ROOT
from benchmarks.overview import to_cost_lines, to_overview_lines
from benchmarks.plots import bars
from benchmarks.registry import CASES
from benchmarks.report import to_lines
from benchmarks.verdict import to_bar_lines, to_better_peer_lines, to_missed_lines

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PAGE = ROOT / "docs" / "about" / "performance.md"
MEASUREMENTS = ROOT / "docs" / "about" / "measurements.md"
PLOTS = ROOT / "docs" / "about" / "performance"
DURABILITY = ROOT / "docs" / "delivery" / "durability.md"
COSTS = "<!-- costs: written by `make bench` -->\n", "<!-- /costs -->"

_WRITTEN = "<!-- written by `make bench`; do not edit -->"
_HEAD = f"""\
# Performance

{_WRITTEN}

Call `track()` wherever an event happens: it costs the calling thread microseconds. Measured on one
small machine:
"""

_HOW = """\
Your times will differ: the machine was shared with other programs. Expect the multiples to hold,
because both sides of each were measured in one process, or in turn.

## Recommendations

- **Keep the defaults.** One process and one connection deliver far more than most applications
  track. [Operations](../delivery/operations.md) has the exceptions.
- **Choose the buffer by what must survive, not by its cost.** SQLite and Redis cost microseconds
  per call too. Only `synchronous=FULL` and an outbox wait for a disk or a database in the call:
  [the costs](../delivery/durability.md#what-a-call-costs).
- **Call it on an event loop** with memory, SQLite or Redis: the loop is
  [hardly delayed](measurements.md#an-event-loop), even if Redis hangs.
- **Expect the first event to be late in a process that computes without a pause.** The delivery
  thread [competes with it](measurements.md#first-request-of-a-busy-process) for the interpreter
  lock.
- **Call `shutdown(timeout)` with less than 10 seconds if your process must end sooner.** With a
  server that does not answer, an exit takes
  [10 seconds](measurements.md#exit-with-held-events): the client still tries to deliver.

## How it is measured

- Each measurement is a fresh process. All of them send to one server on the same machine, which
  answers at once and counts what arrives.
- Each package has its own environment and its default options, except for the address and a queue
  that is large enough for the case. The packages take turns, round after round.
- The event has six properties, one of them nested: 400 bytes on the wire. The floor is `json.dumps`
  of these properties, timed in the same process, in turn with the calls.
- A cell is the median, followed by the least and the most of all rounds.
- Other packages, and the published SDK 0.2.1, are there for comparison. They differ in what they do
  besides the call. A fast figure with a lost event is a failure.
- A row "before" is whisperr at an earlier commit, measured in turn with this one.

`make bench` repeats all measurements and rewrites this page. `make bench BENCH="--cases burst"`
repeats one case, `--base REVISION` adds the rows of an earlier commit, and `--quick` shows figures
within minutes and keeps none.
"""

_BETTER = """\
## Where another package is better

Among the figures that were measured for several packages, only these are better elsewhere. A
package that exits sooner gives up sooner.
"""

_MEASUREMENTS = f"""\
# All measurements

{_WRITTEN}

This page has every figure, case by case. [Performance](performance.md) has the conclusions, and how
and where this was measured. Times are medians, with the least and the most of all rounds in
parentheses. Lower is better, except for rates (events per s).
"""


def to_page(results: dict[str, Any]) -> str:
    """Return the page with the conclusions as Markdown."""
    cases = results["cases"]
    lines = [_HEAD, *to_overview_lines(cases), "", _HOW]
    lines += ["## Targets", "", *to_bar_lines(cases)]
    missed = to_missed_lines(cases)
    lines += ["Missed, and why:", "", *missed, ""] if missed else []
    lines += [_BETTER, *to_better_peer_lines(cases), "", *_where(results)]
    return (
        "\n".join([*lines, "", "Next: [all measurements](measurements.md), case by case."]) + "\n"
    )


def to_measurements(results: dict[str, Any]) -> str:
    """Return the page with every figure as Markdown."""
    lines = [_MEASUREMENTS]
    for name, variants in results["cases"].items():
        lines += to_lines(name, variants)
        lines += [
            f"![{file.stem}](performance/{file.name})\n" for file, _ in _plots(name, variants)
        ]
    return "\n".join(lines).rstrip() + "\n"


def _where(results: dict[str, Any]) -> list[str]:
    machine = results["machine"]
    lines = [
        "## Where this was run",
        "",
        (
            f"{machine['python']}, {machine['system']}, {machine['processor']}, "
            f"{machine['cores']} cores."
        ),
        "",
        *_runs(results["runs"]),
        "",
        "What the server accepts at most, from a sender that does nothing else:",
        "",
    ]
    lines += [f"- {name}: {value:,.0f}" for name, value in results["ceiling"].items()]
    lines += ["", "Versions:", ""]
    return lines + [f"- {name}: `{version}`" for name, version in machine["versions"].items()]


def _runs(runs: dict[str, dict[str, Any]]) -> list[str]:
    """Return the date and the commit of whisperr of each case."""
    groups: dict[str, list[str]] = {}
    for name, run in runs.items():
        label = f"{run['date']}, whisperr at commit {run['commit']}, rounds: {run['rounds']}"
        label += f", before: commit {run['base']}" if run.get("base") else ""
        groups.setdefault(label, []).append(name)
    lines = [f"- {label}: {', '.join(names)}" for label, names in groups.items()]
    missing = [name for name in CASES if name not in runs]
    return lines + ([f"- not measured: {', '.join(missing)}"] if missing else [])


def _plots(name: str, variants: dict[str, Any]) -> Iterator[tuple[Path, str]]:
    """Yield the drawings of a case: one per variant."""
    case = CASES[name]
    if not case.plot:
        return
    for variant, table in variants.items():
        if table["values"]:
            label = f"{name} {variant}".strip().replace(" ", "-")
            titled = case._replace(title=f"{case.title}, {variant}" if variant else case.title)
            yield PLOTS / f"{label}.svg", bars(titled, table["values"])


def write(results: dict[str, Any]) -> None:
    """Write the pages and their drawings."""
    PLOTS.mkdir(exist_ok=True)
    for old in PLOTS.glob("*.svg"):
        old.unlink()
    for name, variants in results["cases"].items():
        for file, drawing in _plots(name, variants):
            file.write_text(drawing, encoding="utf-8")
    PAGE.write_text(to_page(results), encoding="utf-8")
    MEASUREMENTS.write_text(to_measurements(results), encoding="utf-8")
    if "buffers" in results["cases"]:
        text = DURABILITY.read_text(encoding="utf-8")
        DURABILITY.write_text(replace_costs(text, results), encoding="utf-8")


def replace_costs(text: str, results: dict[str, Any]) -> str:
    """Return a page with the table of costs rewritten."""
    start, end = COSTS
    before, rest = text.split(start)
    table = "\n".join(to_cost_lines(results))
    return f"{before}{start}\n{table}\n\n{end}{rest.split(end, 1)[1]}"


def main() -> int:
    """Write the page from the kept results."""
    results = record.read()
    if results is None:
        print("there are no results: make bench")
        return 1
    write(results)
    print(f"wrote {PAGE.relative_to(ROOT)} and {MEASUREMENTS.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
