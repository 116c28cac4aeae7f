"""Runs the tests of every scenario and writes their results to docs/about/reliability.md.

    make reliability

Exits with 1 if a test failed, or if the soak lost or duplicated an event. Writes the page in any
case.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from collections import Counter
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NamedTuple

from scripts.scenarios import SCENARIOS, Scenario

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "about" / "reliability.md"
REPOSITORY = "../.."

HEAD = """\
# What happens when things go wrong

<!-- written by `make reliability`; do not edit -->

Find your situation in the tables below: the second column says what is promised then. Each row
names the tests that show it, and their result when this page was written. If a test could not run,
the row has the reason.

The tests start real processes, real servers and a proxy that injects faults, all on loopback.
`make reliability` runs them again and rewrites this page. For the promises themselves, see
[what whisperr promises](../delivery/promises.md).
"""


class Outcome(NamedTuple):
    """The result of one test: passed, failed or skipped, and why."""

    result: str
    reason: str


def main() -> int:
    """Run the tests and the soak, and write the page."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--soak", type=float, default=60.0, help="seconds to soak (60)")
    parser.add_argument("--seed", type=int, default=1, help="the first seed of the soak (1)")
    parser.add_argument("--matrix", type=Path, help="figures of `make matrix`, as JSON")
    given = parser.parse_args()
    outcomes = parse_outcomes(run_tests())
    soak = run_soak(given.soak, given.seed)
    versions = json.loads(given.matrix.read_text(encoding="utf-8")) if given.matrix else []
    PAGE.write_text(to_page(outcomes, soak, versions), encoding="utf-8")
    failed = [name for name, outcome in outcomes.items() if outcome.result == "failed"]
    print(f"{PAGE.relative_to(ROOT)}: {len(outcomes)} tests, {len(failed)} failed")
    return int(bool(failed) or bool(soak["lost"] or soak["doubled"] or soak["problems"]))


def run_tests() -> Path:
    """Run the tests of all scenarios once; return the report that pytest wrote."""
    wanted = sorted({test for rows in SCENARIOS.values() for row in rows for test in row.tests})
    report = Path(tempfile.mkdtemp(prefix="whisperr-")) / "tests.xml"
    command = [sys.executable, "-m", "pytest", "-q", f"--junit-xml={report}", *wanted]
    subprocess.run(command, cwd=ROOT, check=False)
    return report


def parse_outcomes(report: Path) -> dict[str, Outcome]:
    """Return the outcome of every test by its node id."""
    found = {}
    for case in ET.parse(report).iter("testcase"):  # noqa: S314  # our own pytest wrote it
        parts = case.get("classname", "").split(".")
        depth = next(n for n, part in enumerate(parts) if part.startswith("test_")) + 1
        node = "::".join(["/".join(parts[:depth]) + ".py", *parts[depth:], case.get("name", "")])
        found[node] = to_outcome(case)
    return found


def to_outcome(case: ET.Element) -> Outcome:
    """Return the outcome of one entry of the report."""
    for tag, result in (("failure", "failed"), ("error", "failed"), ("skipped", "skipped")):
        entry = case.find(tag)
        if entry is not None:
            return Outcome(result, entry.get("message", ""))
    return Outcome("passed", "")


def run_soak(seconds: float, seed: int) -> dict[str, Any]:
    """Run the soak as `make soak` does; return its figures."""
    command = [sys.executable, "-m", "tests.faults.soak", "--seconds", str(seconds)]
    ended = subprocess.run(
        [*command, "--seed", str(seed)], cwd=ROOT, check=False, stdout=subprocess.PIPE, text=True
    )
    figures: dict[str, Any] = json.loads(
        ended.stdout[ended.stdout.index("\n{\n") :].rpartition("}")[0] + "}"
    )
    return figures


def to_page(
    outcomes: dict[str, Outcome], soak: dict[str, Any], versions: list[dict[str, Any]]
) -> str:
    """Return the page as Markdown."""
    lines = [HEAD]
    for title, rows in SCENARIOS.items():
        lines += [
            f"## {title}\n",
            "| what happens | what is promised | tested by | result |",
            "|---|---|---|---|",
        ]
        lines += [to_row(row, outcomes) for row in rows]
        lines.append("")
    lines += to_soak_lines(soak)
    if versions:
        lines += to_version_lines(versions)
    today = datetime.now(timezone.utc).date().isoformat()
    lines += [
        "## Where this was run\n",
        (
            f"{today}, {platform.python_implementation()} {platform.python_version()}, "
            f"{platform.system()} {platform.machine()}."
        ),
    ]
    return "\n".join(lines) + "\n"


def to_row(row: Scenario, outcomes: dict[str, Outcome]) -> str:
    """Return one row of a table."""
    own = [
        outcome
        for node, outcome in outcomes.items()
        if any(node == test or node.startswith((f"{test}::", f"{test}[")) for test in row.tests)
    ]
    tests = "<br>".join(to_link(test) for test in row.tests)
    return f"| {row.name} | {row.promise} | {tests} | {to_result(own)} |"


def to_link(test: str) -> str:
    """Return a link to the file of a test, named after the test."""
    path, _, name = test.partition("::")
    return f"[{name.replace('::', ' ') or Path(path).name}]({REPOSITORY}/{path})"


def to_result(outcomes: list[Outcome]) -> str:
    """Return the results of the tests of one row, with the reasons of skipped ones."""
    if not outcomes:
        return "**did not run**"
    counts = Counter(outcome.result for outcome in outcomes)
    words = [
        f"{counts[result]} {result}" for result in ("passed", "failed", "skipped") if counts[result]
    ]
    reasons = sorted({outcome.reason for outcome in outcomes if outcome.result == "skipped"})
    text = ", ".join(words) + (f" ({'; '.join(reasons)})" if reasons else "")
    return f"**{text}**" if counts["failed"] else text


def to_soak_lines(soak: dict[str, Any]) -> list[str]:
    """Return the figures of the soak."""
    faults = dict(sorted(soak["faults"].items(), key=lambda item: -item[1]))
    kinds = ", ".join(f"{name} {count:,}" for name, count in faults.items())
    calls = soak["events"] + soak["identifies"]
    return [
        "## The soak\n",
        (
            "Several threads track events through a proxy and a server that both inject random "
            "faults. At the end, the server must have every accepted event once, in the order of "
            "its thread.\n"
        ),
        "| figure | value |",
        "|---|---|",
        f"| events and identifies | {calls:,} |",
        f"| faults | {sum(faults.values()):,} |",
        f"| requests | {soak['requests']:,} |",
        f"| requests that repeated a failed one | {soak['retries']:,} |",
        f"| duplicates that the server dropped | {soak['duplicates']:,} |",
        f"| pauses after giving up | {soak['pauses']:,} |",
        f"| **lost** | **{soak['lost']}** |",
        f"| **duplicated** | **{soak['doubled']}** |",
        f"| out of order | {soak['out_of_order']} |",
        "",
        (
            f"Faults by kind: {kinds}. Seeds {soak['seeds'][0]} to {soak['seeds'][-1]}; "
            f"`make soak WHISPERR_SOAK_SEED={soak['seeds'][0]}` repeats them.\n"
        ),
    ]


def to_version_lines(versions: list[dict[str, Any]]) -> list[str]:
    """Return the table of Python versions that the whole suite ran on."""
    lines = ["## Pythons\n", "| Python | result | tests passed | note |", "|---|---|---|---|"]
    for one in versions:
        name = f"{one['implementation']} {one['python']}"
        lines.append(
            f"| {name} | {one['result']} | {one.get('passed', '')} | {one.get('note', '')} |"
        )
    return [*lines, ""]


if __name__ == "__main__":
    sys.exit(main())
