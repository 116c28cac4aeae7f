"""Checks out an earlier commit of this repository, so that `--base` can measure it as well."""

from __future__ import annotations

import io
import subprocess
import tarfile
from typing import TYPE_CHECKING, NamedTuple

from benchmarks.environments import HOME, ROOT

if TYPE_CHECKING:
    from collections.abc import Iterable

    from benchmarks.case import Row

_BEFORE = ", before"


class Base(NamedTuple):
    """An earlier state of the package: its commit, and where it is checked out."""

    commit: str
    path: str


def check_out(revision: str) -> Base:
    """Return the package as it was at a revision; raises ValueError when there is none."""
    try:
        commit = _git("rev-parse", "--short", "--verify", f"{revision}^{{commit}}").decode().strip()
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode(errors="replace").strip()
        raise ValueError(f"--base {revision}: not a commit of this repository ({said})") from error
    place = HOME / f"base-{commit}"
    if not (place / "src").exists():
        with tarfile.open(fileobj=io.BytesIO(_git("archive", commit, "src"))) as archive:
            archive.extractall(place, filter="data")
    return Base(commit, str(place / "src"))


def add_rows(rows: Iterable[Row], base: Base | None) -> list[Row]:
    """Return the rows; each compared one is followed by its row of the earlier state."""
    found = []
    for row in rows:
        found.append(row)
        if base is not None and row.compared:
            found.append(row._replace(name=get_name_before(row.name), path=base.path))
    return found


def get_name_before(name: str) -> str:
    """Return the name of a row of the earlier state."""
    return f"{name}{_BEFORE}"


def get_name_now(name: str) -> str:
    """Return the name of a row; for a row of the earlier state, the name of its current row."""
    return name.removesuffix(_BEFORE)


def _git(*arguments: str) -> bytes:
    command = ["git", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout
