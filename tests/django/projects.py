"""New Django projects in processes of their own, as a newcomer makes and runs them."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

LIMIT = 120  # seconds for a command; far more than it takes


def start_project(home: Path, settings: str, files: dict[str, str]) -> None:
    """Make the project `shop` with `django-admin`; add to its settings, and write files."""
    command = [sys.executable, "-m", "django", "startproject", "shop", str(home)]
    subprocess.run(command, check=True, timeout=LIMIT)
    with (home / "shop" / "settings.py").open("a", encoding="utf-8") as file:
        file.write(f"\n{settings}")
    for name, text in files.items():
        (home / name).parent.mkdir(exist_ok=True)
        (home / name).write_text(text, encoding="utf-8")


def run_in(home: Path, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a program of Python in a project, with no other variable of ours than these."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if name != "DJANGO_SETTINGS_MODULE" and not name.startswith("WHISPERR_")
    }
    return subprocess.run(
        [sys.executable, *command],
        cwd=home,
        env={**inherited, **variables},
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
