"""Logs for tests, and what the next process finds in their directory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from whisperr._queue.log.left import LeftLogs
from whisperr._queue.log.log import Log

if TYPE_CHECKING:
    from pathlib import Path

OWNER = "5a"
ROOM = 1 << 30


def make_log(
    directory: Path, max_events: int = 1_000_000, max_bytes: int = ROOM, *, fsync: bool = False
) -> Log:
    """Return a log in a directory that need not exist."""
    return Log(str(directory), OWNER, max_events, max_bytes, fsync=fsync)


def read_left(directory: Path) -> list[tuple[int, int, bytes]]:
    """Adopt everything, as the next process does; return source, index and event of each line."""
    found: list[tuple[int, int, bytes]] = []
    logs = LeftLogs(str(directory), OWNER)
    while (left := logs.adopt()) is not None:
        index, lines = left.claim(7)
        while lines:
            found += [(left.source, index + at, data) for at, data in enumerate(lines)]
            left.ack(len(lines))
            index, lines = left.claim(7)
        left.close()
    return found


def read_events(directory: Path) -> list[bytes]:
    """Return the events of `read_left`."""
    return [data for _, _, data in read_left(directory)]


def get_files(directory: Path) -> list[Path]:
    """Return the files of all logs, in the order of their names."""
    return sorted(directory.glob("*.log"))
