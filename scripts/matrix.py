"""Run the tests on every supported Python; say which interpreter is missing.

`python -m scripts.matrix` takes the Pythons of this machine, with `--new` those of a Debian testing
root (`scripts/places.py`), `--only VERSION` one of them; `--json FILE` writes the table to a file.
Ends with 0 if every run passed, 1 if one failed or none ran, 2 if a Python was missing and the
others passed. An environment per version is made once and kept.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections import Counter
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from scripts.places import ROOT, Machine, debian_root

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

    from scripts.places import Place


@dataclass(frozen=True)
class BatchBuilder:
    """One run of the tests: which Python, and what is special about it."""

    version: str
    note: str = ""
    variables: dict[str, str] = field(default_factory=dict)


# Threads that are switched a thousand times as often meet in places where they rarely do.
RESTLESS = {"WHISPERR_SWITCH_INTERVAL": "1e-6"}
RUNS = (
    *(BatchBuilder(version) for version in ("3.10", "3.11", "3.12", "3.13")),
    BatchBuilder("3.13", "threads switch every microsecond", RESTLESS),
)
NEW_RUNS = tuple(BatchBuilder(version) for version in ("3.14", "3.15", "pypy3"))

# Extras of pyproject.toml. The first must be there; of the others, one that cannot be installed on
# a version is named in the table, and the tests that need it skip themselves.
EXTRAS = ("test", "django-test", "doors", "hosts", "browser")

# Machines are noisy: only a run that hangs takes this long.
LONGEST_RUN = 3600.0  # seconds
# As in the Makefile: the tests wait more than they compute.
PARALLEL = ("-n", "4", "--dist", "loadfile")
TELL_WHERE = 600  # seconds in one test after which the stacks of its threads are shown


@dataclass
class Result:
    """A line of the table, and an object of the JSON file."""

    python: str
    implementation: str = ""
    result: str = "not installed"
    passed: int = 0
    skipped: int = 0
    failed: int = 0
    seconds: float = 0.0
    note: str = ""


def environment_of(
    place: Place, run: BatchBuilder, interpreter: str, extras: Sequence[str] = EXTRAS
) -> tuple[str, list[str]]:
    """Bring the environment of a version up to date; return its Python and what it lacks."""
    home = f"{place.environments}/{run.version}"
    python = f"{home}/bin/python"
    pip = [python, "-m", "pip", "--disable-pip-version-check", "--quiet", "install"]
    pinned = [*pip, "--constraint", "constraints.txt"]
    here = [*pinned, "--no-build-isolation", "--editable"]
    for command in (
        [interpreter, "-m", "venv", home],
        [*pinned, "hatchling", "editables"],
        [*here, f".[{extras[0]}]"],
    ):
        code = place.run(command).returncode
        if code:
            raise subprocess.CalledProcessError(code, command)
    missing = [extra for extra in extras[1:] if place.run([*here, f".[{extra}]"]).returncode]
    return python, [f"extra {extra} cannot be installed" for extra in missing]


def tested(place: Place, run: BatchBuilder) -> Result:
    """Do one run."""
    try:
        interpreter = place.interpreter_of(run.version)
    except LookupError as error:
        return Result(run.version, note=str(error))
    print(f"== {run.version}: {interpreter} {run.note}", flush=True)
    try:
        python, missing = environment_of(place, run, interpreter)
    except subprocess.CalledProcessError as error:
        return Result(run.version, result="failed", note=f"not set up: {' '.join(error.cmd)}")
    asked = "import platform as p; print(p.python_version(), p.python_implementation().lower())"
    said = place.run([python, "-c", asked], output=subprocess.PIPE)
    release, implementation = said.stdout.split()
    note = "; ".join([*filter(None, [run.note]), *missing])
    result = Result(release, implementation, note=note)
    _test(place, run, python, result)
    return result


def _test(place: Place, run: BatchBuilder, python: str, result: Result) -> None:
    """Run the tests and write into the result what became of them."""
    report = ROOT / ".venvs" / f"report-{os.getpid()}.xml"
    report.parent.mkdir(exist_ok=True)
    seen = f"{place.sources}/.venvs/{report.name}"
    command = [python, "-m", "pytest", "-q", *PARALLEL, "-o", f"faulthandler_timeout={TELL_WHERE}"]
    began = time.monotonic()
    try:
        ended = place.run(
            [*command, f"--junit-xml={seen}"], variables=run.variables, timeout=LONGEST_RUN
        )
        result.result = "failed" if ended.returncode else "passed"
    except subprocess.TimeoutExpired:
        result.result = "failed"
        result.note = "; ".join(filter(None, [result.note, f"no end after {LONGEST_RUN:.0f} s"]))
    result.seconds = round(time.monotonic() - began, 1)
    if report.exists():
        result.passed, result.skipped, result.failed = counts_in(report.read_text("utf-8"))
        report.unlink()


def counts_in(report: str) -> tuple[int, int, int]:
    """Return how many tests passed, skipped and failed (or broke) by pytest's XML report."""
    counts: Counter[str] = Counter()
    for suite in ET.fromstring(report).iter("testsuite"):  # noqa: S314  # our own pytest wrote it
        for name in ("tests", "skipped", "failures", "errors"):
            counts[name] += int(suite.get(name, "0"))
    failed = counts["failures"] + counts["errors"]
    return counts["tests"] - counts["skipped"] - failed, counts["skipped"], failed


def table_of(results: Sequence[Result]) -> str:
    """Lay the results out in columns, with the note last."""
    head = ["python", "implementation", "result", "passed", "skipped", "failed", "seconds", "note"]
    rows = [head, *([str(value) for value in asdict(result).values()] for result in results)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def verdict_on(results: Sequence[Result]) -> tuple[int, str]:
    """Return the exit code and the last line, which names what failed and what is missing."""
    named: dict[str, list[str]] = {"passed": [], "failed": [], "not installed": []}
    for result in results:
        named[result.result].append(f"{result.implementation} {result.python}".strip())
    line = "; ".join(f"{word}: {', '.join(names)}" for word, names in named.items() if names)
    if named["failed"] or not named["passed"]:
        return 1, line
    return (2 if named["not installed"] else 0), line


def main() -> int:
    """Run every version, then print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--new", action="store_true", help="3.14, 3.15 and PyPy, from Debian")
    parser.add_argument("--only", metavar="VERSION", help="such as 3.12 or pypy3")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the table as JSON")
    asked = parser.parse_args()
    runs = [run for run in (NEW_RUNS if asked.new else RUNS) if asked.only in {None, run.version}]
    results: list[Result] = []
    try:
        where: AbstractContextManager[Place]
        where = debian_root() if asked.new else nullcontext(Machine())
        with where as place:
            for run in runs:
                results.append(tested(place, run))  # noqa: PERF401  # kept when a later one breaks
    except LookupError as error:
        results += [Result(run.version, note=str(error)) for run in runs[len(results) :]]
    if asked.json:
        text = json.dumps([asdict(result) for result in results], indent=2)
        asked.json.write_text(f"{text}\n", encoding="utf-8")
    code, line = verdict_on(results)
    print(f"\n{table_of(results)}\n\n{line}")
    return code


if __name__ == "__main__":
    sys.exit(main())
