"""Run the tests on every supported Python; say which interpreter is missing.

An environment per version in `.venvs/`, made once. Interpreters come from the PATH or from
pyenv. Ends with 1 if a version fails or if none was found.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

VERSIONS = ("3.10", "3.11", "3.12", "3.13")
ROOT = Path(__file__).resolve().parent.parent


def interpreter_of(version: str) -> str | None:
    """Return a Python of this version that runs, from pyenv or the PATH."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found = [str(path) for path in sorted(pyenv.glob(f"{version}.*/bin/python"))]
    on_path = shutil.which(f"python{version}")
    for candidate in [*reversed(found), *([on_path] if on_path else [])]:
        if subprocess.run([candidate, "--version"], capture_output=True, check=False).returncode:
            continue  # a pyenv shim for a version that is not active
        return candidate
    return None


def environment_of(version: str, interpreter: str) -> Path:
    """Make the environment of this version if needed, bring it up to date, return its Python."""
    home = ROOT / ".venvs" / version
    python = home / "bin" / "python"
    if not python.exists():
        subprocess.run([interpreter, "-m", "venv", str(home)], check=True)
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "--quiet", "install"]
    pinned = [*pip, "--constraint", "constraints.txt"]
    subprocess.run([*pinned, "hatchling", "editables"], cwd=ROOT, check=True)
    editable = ["--no-build-isolation", "--editable", ".[test,hosts]"]
    subprocess.run([*pinned, *editable], cwd=ROOT, check=True)
    return python


def main() -> int:
    """Run every version, then print a line for each."""
    lines, failed, ran = [], 0, 0
    for version in VERSIONS:
        interpreter = interpreter_of(version)
        if interpreter is None:
            lines.append(f"{version}  MISSING: not on the PATH and not in pyenv")
            continue
        print(f"== Python {version}: {interpreter}", flush=True)
        python = environment_of(version, interpreter)
        ended = subprocess.run([str(python), "-m", "pytest", "-q"], cwd=ROOT, check=False)
        ran += 1
        failed += ended.returncode != 0
        lines.append(f"{version}  {'passed' if ended.returncode == 0 else 'FAILED'}")
    print("\n".join(["", *lines]))
    return 1 if failed or not ran else 0


if __name__ == "__main__":
    sys.exit(main())
