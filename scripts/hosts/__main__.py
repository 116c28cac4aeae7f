"""Sends SIGTERM to every host of docs/delivery/processes.md while an event waits; writes its table.

`make hosts` makes pinned environments for them, once, under `.venvs/hosts`. It also runs the tests
of the guides whose packages `make test` does not install. With `--only TEXT` it tries only the
hosts whose names contain that text, and writes nothing. Exits with 0 if each did what
`tests/hosts/trials` expects, with 1 if one did not, and with 2 if one could not be tried. It writes
the page only after all hosts have done what is expected.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))  # the trials are those of the tests

from tests.hosts.trials import TRIALS, Trial  # noqa: E402  # the path comes first
from tests.hosts.trials.table import Row, to_page  # noqa: E402  # likewise
from tests.hosts.trials.trial import PAGE, Services, run  # noqa: E402  # likewise

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

HOME = ROOT / ".venvs" / "hosts"
PINS = Path(__file__).resolve().parent / "pins"
# The extras of this checkout that each environment has in addition to its pins.
EXTRAS = {"hosts": "test,django-test,integrations,hosts"}
# The packages that need an environment of their own, and its name: arq needs an older Redis client
# than ours, the others bring many packages.
ALONE = {
    "arq": "arq",
    "temporalio": "temporal",
    "apache-airflow-core": "airflow",
    "prefect": "prefect",
}
# Far longer than all trials of an environment take.
LONGEST_RUN = 1800.0  # seconds


def get_environment(trial: Trial) -> str:
    """Return the environment of a trial."""
    return next((ALONE[one] for one in trial.packages if one in ALONE), "hosts")


def make_environment(name: str) -> Path:
    """Make an environment or update it; return its Python."""
    home = HOME / name
    python = home / "bin" / "python"
    constraints = ROOT / "constraints.txt"
    pins = PINS / f"{name}.txt"
    state = hashlib.sha256(
        b"".join(path.read_bytes() for path in (pins, constraints, ROOT / "pyproject.toml"))
    ).hexdigest()
    made = home / "made-from"
    if made.exists() and made.read_text(encoding="utf-8") == state + sys.version:
        return python
    print(f"== making {home}", flush=True)
    subprocess.run([sys.executable, "-m", "venv", "--clear", home], check=True)
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "-qq", "install"]
    extras = EXTRAS.get(name, "")
    limits = ["--constraint", str(constraints), "--constraint", str(pins)] if extras else []
    for arguments in (
        [*limits, "--requirement", str(pins)],
        ["--constraint", str(constraints), "hatchling", "hatch-fancy-pypi-readme", "editables"],
        [*limits, "--no-build-isolation", "--editable", f".[{extras}]".replace("[]", "")],
    ):
        subprocess.run([*pip, *arguments], cwd=ROOT, check=True)
    made.write_text(state + sys.version, encoding="utf-8")
    return python


def measure(trial: Trial, services: Services) -> Row:
    """Try a host alone, with the lines of the page, and with SIGTERM to all of its processes."""
    delivered = try_once(trial, services, added=False)
    added = not trial.section or try_once(trial, services, added=True)
    if delivered is not trial.delivers or not added:
        raise AssertionError(f"nothing added: {delivered}; with the lines of the page: {added}")
    if not trial.loses_to_all and not try_once(
        trial, services, added=bool(trial.section), to_all=True
    ):
        raise AssertionError("the event was lost when all processes got SIGTERM")
    if trial.guide:
        run_guide(trial.guide)
    return Row(trial.host, trial.version, delivered, trial.section, trial.loses_to_all)


def run_guide(tests: Sequence[str]) -> None:
    """Run the tests of a guide. Without the fixtures of other tests: they need more packages."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    command += ["--confcutdir", str((ROOT / tests[0]).parent), *tests]
    done = subprocess.run(
        command, cwd=ROOT, timeout=LONGEST_RUN, capture_output=True, text=True, check=False
    )
    if done.returncode or "skipped" in done.stdout or "passed" not in done.stdout:
        raise AssertionError(f"its guide: {done.stdout}")


def try_once(trial: Trial, services: Services, *, added: bool, to_all: bool = False) -> bool:
    """Try a host once, in a directory of its own."""
    with tempfile.TemporaryDirectory(prefix="whisperr-host-") as home:
        return run(trial, Path(home), services, added=added, to_all=to_all)


def measure_here(names: Sequence[str]) -> int:
    """Try these hosts in this environment; print a line of JSON for each."""
    failed = False
    with Services() as services:
        for trial in TRIALS:
            if trial.host not in names:
                continue
            reason = trial.why_not()
            found: object = {"host": trial.host, "reason": reason}
            if reason is None:
                try:
                    found = measure(trial, services)._asdict()
                except (AssertionError, subprocess.SubprocessError) as error:
                    found = {"host": trial.host, "reason": f"failed: {error}"}
                    failed = True
            print(json.dumps(found), flush=True)
    return int(failed)


def measure_all(trials: Sequence[Trial]) -> Iterator[dict[str, str]]:
    """Try hosts, each in its environment; yield the result of each."""
    for name in dict.fromkeys(map(get_environment, trials)):
        python = make_environment(name)
        hosts = [trial.host for trial in trials if get_environment(trial) == name]
        command = [str(python), "-m", "scripts.hosts", "--here", *hosts]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for line in process.stdout:
                if line.startswith('{"host"'):
                    found: dict[str, str] = json.loads(line)
                    print(to_text(found), flush=True)
                    yield found
            process.wait(LONGEST_RUN)


def to_text(found: dict[str, str]) -> str:
    """Return the result of a host as a line for people."""
    if "reason" in found:
        return f"{found['host']}: {found['reason']}"
    row = Row(**found)  # type: ignore[arg-type]  # JSON of a row
    words = ["delivered" if row.delivered else "lost"]
    words += [f"delivered with {row.section!r}"] if row.section else []
    words += ["not tried with SIGTERM to all processes"] if row.loses_to_all else []
    return f"{row.host} ({row.version}): {', '.join(words)}"


def main() -> int:
    """Try the hosts; write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", metavar="TEXT", default="", help="such as hypercorn")
    parser.add_argument("--here", metavar="HOST", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.here:
        return measure_here(arguments.here)
    wanted = [trial for trial in TRIALS if arguments.only.lower() in trial.host.lower()]
    if not wanted:
        parser.error(f"--only: no host has {arguments.only!r} in its name")
    found = {one["host"]: one for one in measure_all(wanted)}
    missing = [trial.host for trial in wanted if "reason" in found.get(trial.host, {"reason": ""})]
    if missing:
        print(f"not tried, or not as expected: {'; '.join(missing)}", file=sys.stderr)
        failed = any("failed" in one.get("reason", "") for one in found.values())
        return 1 if failed else 2
    if not arguments.only:
        rows = [Row(**found[trial.host]) for trial in TRIALS]  # type: ignore[arg-type]  # likewise
        PAGE.write_text(to_page(PAGE.read_text(encoding="utf-8"), rows), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
