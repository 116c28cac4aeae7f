"""Makes a pinned virtual environment for each package, once, under `.venvs/bench`.

The published SDK and this checkout have the same name, so they cannot share one.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HOME = ROOT / ".venvs" / "bench"
PINS = Path(__file__).resolve().parent / "pins"
# Environments with an editable install of this checkout.
_WITH_CHECKOUT = {"whisperr", "django", "buffers"}


class Unavailable(Exception):  # noqa: N818  # a fact about this machine, shown in the table
    """This environment cannot be made; the text is the reason."""


def get_python(name: str) -> Path:
    """Return the interpreter of an environment; make it or bring it up to date first."""
    home = HOME / name
    python = home / "bin" / "python"
    pins = PINS / f"{name}.txt"
    state = hashlib.sha256(pins.read_bytes()).hexdigest() + sys.version
    made = home / "made-from"
    if made.exists() and made.read_text(encoding="utf-8") == state:
        return python
    try:
        _run([sys.executable, "-m", "venv", "--clear", str(home)])
        pip = [str(python), "-m", "pip", "--disable-pip-version-check", "--quiet", "install"]
        _run([*pip, "--requirement", str(pins)])
        if name in _WITH_CHECKOUT:
            _run(
                [
                    *pip,
                    "--constraint",
                    "constraints.txt",
                    "hatchling",
                    "hatch-fancy-pypi-readme",
                    "editables",
                ]
            )
            _run([*pip, "--no-build-isolation", "--no-deps", "--editable", "."])
    except subprocess.CalledProcessError as error:
        last = (error.stderr or "").strip().splitlines()[-1:] or [str(error)]
        raise Unavailable(f"cannot be installed: {last[0]}") from error
    made.write_text(state, encoding="utf-8")
    return python


def get_version(name: str) -> str:
    """Return the pin of the package itself, without those of its dependencies."""
    lines = (PINS / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    wanted = [line for line in lines if line and not line.startswith("#")]
    return wanted[0] if wanted else "this checkout"


def _run(command: list[str]) -> None:
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
