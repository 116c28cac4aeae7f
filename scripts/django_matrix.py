"""Runs the tests of the Django integration on every supported Django; reports missing Pythons.

Each Django runs with the oldest and the newest Python that both support. `--only VERSION` selects
one Django. The environments are made once, in `.venvs/`. Exits with 1 if a pair fails, or if there
was no Python at all for a Django.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from typing import TYPE_CHECKING

from scripts.systems import ROOT, Machine

if TYPE_CHECKING:
    from pathlib import Path

# The Pythons that each Django names and that this package is tested with.
PYTHONS = {
    "5.2": ("3.10", "3.13"),
    "6.0": ("3.12", "3.13"),
    "6.1": ("3.12", "3.13"),
}
TESTS = ["tests/django", "tests/outbox", "tests/asgi/test_lifespan.py"]


def constraints_without_django() -> str:
    """Return the pins of all other packages; the version of Django varies."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines(keepends=True)
    return "".join(line for line in lines if not line.lower().startswith("django=="))


def make_environment(django: str, version: str, interpreter: str) -> Path:
    """Make or update the environment of this pair; return its Python."""
    home = ROOT / ".venvs" / f"django-{django}-python-{version}"
    python = home / "bin" / "python"
    if not python.exists():
        subprocess.run([interpreter, "-m", "venv", str(home)], check=True)
    with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as pins:
        pins.write(constraints_without_django())
        pins.flush()
        pip = [str(python), "-m", "pip", "--disable-pip-version-check", "--quiet", "install"]
        pinned = [*pip, "--constraint", pins.name]
        subprocess.run(
            [*pinned, "hatchling", "hatch-fancy-pypi-readme", "editables"], cwd=ROOT, check=True
        )
        wanted = [
            "--no-build-isolation",
            "--editable",
            ".[test,django-test]",
            f"django=={django}.*",
        ]
        subprocess.run([*pinned, *wanted], cwd=ROOT, check=True)
    return python


def passes(python: Path) -> bool:
    """Run the tests in one environment."""
    command = [str(python), "-m", "pytest", "-q", *TESTS]
    return subprocess.run(command, cwd=ROOT, check=False).returncode == 0


def main() -> int:
    """Run every pair, then print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", metavar="VERSION", choices=PYTHONS, help="one Django")
    only = parser.parse_args().only
    lines, failed = [], 0
    for django, versions in PYTHONS.items():
        if only not in {None, django}:
            continue
        ran = 0
        for version in versions:
            pair = f"Django {django}, Python {version}"
            try:
                interpreter = Machine().get_interpreter(version)
            except LookupError as error:
                lines.append(f"{pair}  MISSING: {error}")
                continue
            print(f"== {pair}: {interpreter}", flush=True)
            good = passes(make_environment(django, version, interpreter))
            ran += 1
            failed += not good
            lines.append(f"{pair}  {'passed' if good else 'FAILED'}")
        failed += not ran
    print("\n".join(["", *lines]))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
