"""Runs programs against a local server, as a newcomer does who pasted them from a page."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

from tests.docs.page import ROOT

if TYPE_CHECKING:
    from pathlib import Path

LIMIT = 120  # seconds for one program; far more than it takes
_PREFIXES = ("WHISPERR_", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT")


def run(folder: Path, text: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a program as `python app.py`; see `run_python`."""
    (folder / "app.py").write_text(text, encoding="utf-8")
    return run_python(folder, "app.py", **variables)


def run_in_dev(folder: Path, text: str) -> subprocess.CompletedProcess[str]:
    """Run a program as `whisperr dev -- python app.py`, on a free port, without a key.

    What the local server says is in `stderr`, what the program prints in `stdout`.
    """
    (folder / "app.py").write_text(text, encoding="utf-8")
    dev = ("-m", "whisperr", "dev", "--port", "0", "--")
    return run_python(folder, *dev, sys.executable, "app.py")


def run_python(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run Python in a folder and return what it printed; it must end with 0.

    `variables` are added to an environment that has no setting of ours and no proxy.
    """
    environment = {k: v for k, v in os.environ.items() if not k.upper().startswith(_PREFIXES)}
    environment |= {"PYTHONPATH": str(ROOT / "src"), "PYTHONIOENCODING": "utf-8", **variables}
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        encoding="utf-8",
        timeout=LIMIT,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done
