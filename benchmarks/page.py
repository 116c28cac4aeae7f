"""Writes docs/performance.md and its drawings from the kept figures.

python -m benchmarks.page
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from benchmarks import record
from benchmarks.environments import ROOT
from benchmarks.plots import bars
from benchmarks.registry import CASES
from benchmarks.report import to_lines
from benchmarks.verdict import to_better_peer_lines, to_missed_lines, to_target_lines

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PAGE = ROOT / "docs" / "performance.md"
PLOTS = ROOT / "docs" / "performance"

_HEAD = """\
# Performance

<!-- written by `make bench`; do not edit -->

whisperr and its alternatives: the published SDK 0.2.1, other event SDKs, and two packages for
telemetry. Each package has its own environment and its default options, except the
address and a queue that is large enough for the case. All send to the same server on this machine,
which answers at once and counts what arrives. Every measurement is a fresh process; within a case
the packages take turns, round after round. A cell is the median with the least and the most of all
rounds. A fast figure with a lost event is a failure.

`make bench` repeats all measurements and rewrites this page; `make bench BENCH="--cases burst"`
repeats one case.
"""


def to_page(results: dict[str, Any]) -> str:
    """Return the page as Markdown."""
    lines = [_HEAD, "## In short", "", *to_target_lines(results["cases"]), *_reading(results)]
    lines += ["## Case by case", ""]
    for name, variants in results["cases"].items():
        lines += to_lines(name, variants)
        lines += [
            f"![{file.stem}](performance/{file.name})\n" for file, _ in _plots(name, variants)
        ]
    return "\n".join([*lines, *_where(results)]) + "\n"


def _reading(results: dict[str, Any]) -> list[str]:
    cases = results["cases"]
    missed = ["## What was not reached, and why", "", *to_missed_lines(cases), ""]
    return [*missed, "## Where a peer is better", "", *to_better_peer_lines(cases), ""]


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
        "What the server accepts from a sender that does nothing else:",
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
    """Write the page and its drawings."""
    PLOTS.mkdir(exist_ok=True)
    for old in PLOTS.glob("*.svg"):
        old.unlink()
    for name, variants in results["cases"].items():
        for file, drawing in _plots(name, variants):
            file.write_text(drawing, encoding="utf-8")
    PAGE.write_text(to_page(results), encoding="utf-8")


def main() -> int:
    """Write the page from the kept results."""
    results = record.read()
    if results is None:
        print("there are no results: make bench")
        return 1
    write(results)
    print(f"wrote {PAGE.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
