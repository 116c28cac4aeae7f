"""Runs the tests on every supported Python, and reports missing interpreters.

`python -m scripts.matrix` uses the Pythons of this machine, with `--new` those of a Debian testing
root (`scripts/systems.py`), with `--this` the one that runs it. `--only VERSION` selects one of
them. `--json FILE` writes the table to a file.
Exits with 0 if every run passed, 1 if one failed or none ran, 2 if a Python was missing and the
others passed. The environment of a version is made once and kept.
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

from scripts.systems import ROOT, Machine, ThisPython, debian_root

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

    from scripts.systems import System


@dataclass(frozen=True)
class Run:
    """One run of the tests: its Python, and what is special about it."""

    version: str
    note: str = ""
    variables: dict[str, str] = field(default_factory=dict)


# With a thousand times as many thread switches, rare races become likely.
RESTLESS = {"WHISPERR_SWITCH_INTERVAL": "1e-6"}
RUNS = (
    *(Run(version) for version in ("3.10", "3.11", "3.12", "3.13")),
    Run("3.13", "threads switch every microsecond", RESTLESS),
)
NEW_RUNS = tuple(Run(version) for version in ("3.14", "3.15", "pypy3"))

# Extras of pyproject.toml. The first is required. Another one that cannot be installed on a version
# is named in the table, and the tests that need it are skipped.
EXTRAS = ("test", "django-test", "integrations", "hosts", "browser")

# Machines are noisy: only a run that hangs takes this long.
LONGEST_RUN = 3600.0  # seconds
# As in the Makefile: the tests wait more than they compute.
PARALLEL = ("-n", "4", "--dist", "loadfile")
HANG_TIMEOUT = 600  # seconds in one test after which the stacks of its threads are shown


@dataclass
class Result:
    """A row of the table, and an object of the JSON file."""

    python: str
    implementation: str = ""
    result: str = "not installed"
    passed: int = 0
    skipped: int = 0
    failed: int = 0
    seconds: float = 0.0
    note: str = ""


def make_environment(
    system: System, run: Run, interpreter: str, extras: Sequence[str] = EXTRAS
) -> tuple[str, list[str]]:
    """Make or update the environment of a version; return its Python and what it lacks."""
    home = f"{system.environments}/{run.version}"
    python = f"{home}/bin/python"
    pip = [python, "-m", "pip", "--disable-pip-version-check", "--quiet", "install"]
    pinned = [*pip, "--constraint", "constraints.txt"]
    here = [*pinned, "--no-build-isolation", "--editable"]
    for command in (
        [interpreter, "-m", "venv", home],
        [*pinned, "hatchling", "hatch-fancy-pypi-readme", "editables"],
        [*here, f".[{extras[0]}]"],
    ):
        code = system.run(command).returncode
        if code:
            raise subprocess.CalledProcessError(code, command)
    missing = [extra for extra in extras[1:] if system.run([*here, f".[{extra}]"]).returncode]
    return python, [f"extra {extra} cannot be installed" for extra in missing]


def run_tests(system: System, run: Run) -> Result:
    """Run the tests once, in an environment of their own."""
    try:
        interpreter = system.get_interpreter(run.version)
    except LookupError as error:
        return Result(run.version, note=str(error))
    print(f"== {run.version}: {interpreter} {run.note}", flush=True)
    try:
        python, missing = make_environment(system, run, interpreter)
    except subprocess.CalledProcessError as error:
        return Result(run.version, result="failed", note=f"not set up: {' '.join(error.cmd)}")
    program = "import platform as p; print(p.python_version(), p.python_implementation().lower())"
    output = system.run([python, "-c", program], output=subprocess.PIPE)
    release, implementation = output.stdout.split()
    note = "; ".join([*filter(None, [run.note]), *missing])
    result = Result(release, implementation, note=note)
    _test(system, run, python, result)
    return result


def _test(system: System, run: Run, python: str, result: Result) -> None:
    """Run the tests and write the counts into the result."""
    report = ROOT / ".venvs" / f"report-{os.getpid()}.xml"
    report.parent.mkdir(exist_ok=True)
    seen = f"{system.sources}/.venvs/{report.name}"
    command = [
        python,
        "-m",
        "pytest",
        "-q",
        *PARALLEL,
        "-o",
        f"faulthandler_timeout={HANG_TIMEOUT}",
    ]
    began = time.monotonic()
    try:
        ended = system.run(
            [*command, f"--junit-xml={seen}"], variables=run.variables, timeout=LONGEST_RUN
        )
        result.result = "failed" if ended.returncode else "passed"
    except subprocess.TimeoutExpired:
        result.result = "failed"
        result.note = "; ".join(filter(None, [result.note, f"no end after {LONGEST_RUN:.0f} s"]))
    result.seconds = round(time.monotonic() - began, 1)
    if report.exists():
        result.passed, result.skipped, result.failed = parse_counts(report.read_text("utf-8"))
        report.unlink()


def parse_counts(report: str) -> tuple[int, int, int]:
    """Return how many tests passed, skipped and failed (or broke) by pytest's XML report."""
    counts: Counter[str] = Counter()
    for suite in ET.fromstring(report).iter("testsuite"):  # noqa: S314  # our own pytest wrote it
        for name in ("tests", "skipped", "failures", "errors"):
            counts[name] += int(suite.get(name, "0"))
    failed = counts["failures"] + counts["errors"]
    return counts["tests"] - counts["skipped"] - failed, counts["skipped"], failed


def to_table(results: Sequence[Result]) -> str:
    """Return the results in columns, with the note last."""
    head = ["python", "implementation", "result", "passed", "skipped", "failed", "seconds", "note"]
    rows = [head, *([str(value) for value in asdict(result).values()] for result in results)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def get_verdict(results: Sequence[Result]) -> tuple[int, str]:
    """Return the exit code and the last line, which names failed and missing versions."""
    named: dict[str, list[str]] = {"passed": [], "failed": [], "not installed": []}
    for result in results:
        named[result.result].append(f"{result.implementation} {result.python}".strip())
    line = "; ".join(f"{word}: {', '.join(names)}" for word, names in named.items() if names)
    if named["failed"] or not named["passed"]:
        return 1, line
    return (2 if named["not installed"] else 0), line


def main() -> int:
    """Run every version, then print a row for each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--new", action="store_true", help="3.14, 3.15 and PyPy, from Debian")
    which.add_argument("--this", action="store_true", help="the Python that runs this program")
    parser.add_argument("--only", metavar="VERSION", help="such as 3.12 or pypy3")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the table as JSON")
    arguments = parser.parse_args()
    runs = NEW_RUNS if arguments.new else RUNS
    if arguments.this:
        runs = (Run(ThisPython.version),)
    runs = tuple(run for run in runs if arguments.only in {None, run.version})
    results: list[Result] = []
    try:
        opened: AbstractContextManager[System]
        machine = ThisPython() if arguments.this else Machine()
        opened = debian_root() if arguments.new else nullcontext(machine)
        with opened as system:
            for run in runs:
                results.append(run_tests(system, run))  # noqa: PERF401  # kept when a later one breaks
    except LookupError as error:
        results += [Result(run.version, note=str(error)) for run in runs[len(results) :]]
    if arguments.json:
        text = json.dumps([asdict(result) for result in results], indent=2)
        arguments.json.write_text(f"{text}\n", encoding="utf-8")
    code, line = get_verdict(results)
    print(f"\n{to_table(results)}\n\n{line}")
    return code


if __name__ == "__main__":
    sys.exit(main())
