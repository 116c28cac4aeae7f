"""What the commands print: errors, and the progress of an import."""

from __future__ import annotations

import shutil
import sys
import time
from typing import TYPE_CHECKING, TextIO

from whisperr._terminal import wants_colour

if TYPE_CHECKING:
    from .checkpoint import Progress

_INTERVAL = 0.1  # seconds
_WIDTH = 30
_CLEAR = "\r\x1b[K"


def print_error(command: str, message: str) -> None:
    """Print one line on stderr that says what is wrong."""
    print(f"whisperr {command}: {' '.join(message.split())}", file=sys.stderr)


class ProgressBar:
    """A bar on the last line of a terminal, drawn a few times a second at most.

    On anything else than a terminal, only the other lines are written.
    """

    def __init__(self, stream: TextIO, *, total: int, first: int = 0) -> None:
        self._stream = stream
        self._total = total
        self._is_shown = stream.isatty()
        self._has_colour = wants_colour(stream)
        self._began = time.monotonic()
        self._first = first
        self._last: float | None = None

    def show(self, progress: Progress) -> None:
        """Draw the progress, unless it was drawn just before."""
        now = time.monotonic()
        if not self._is_shown or (self._last is not None and now - self._last < _INTERVAL):
            return
        self._last = now
        share = progress.offset / self._total if self._total else 1.0
        filled = round(share * _WIDTH)
        bar = "#" * filled
        if self._has_colour:
            bar = f"\x1b[32m{bar}\x1b[0m"
        rate = (progress.line - self._first) / max(now - self._began, _INTERVAL)
        text = f" {share:4.0%} line {progress.line:,}, {rate:,.0f}/s"
        if progress.refused or progress.rejected:
            text += f", refused {progress.refused + progress.rejected:,}"
        room = shutil.get_terminal_size().columns - _WIDTH - 3
        self._stream.write(f"{_CLEAR}[{bar}{'.' * (_WIDTH - filled)}]{text[: max(room, 0)]}")
        self._stream.flush()

    def line(self, text: str) -> None:
        """Write a permanent line, above the bar."""
        self._stream.write(f"{_CLEAR if self._last is not None else ''}{text}\n")
        self._stream.flush()

    def end(self) -> None:
        """Remove the bar."""
        if self._last is not None:
            self._stream.write(_CLEAR)
            self._stream.flush()
