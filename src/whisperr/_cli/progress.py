"""The progress of an import: kept in a checkpoint, and drawn as a bar on a terminal."""

from __future__ import annotations

import json
import math
import os
import shutil
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple, TextIO

from whisperr._owned import NotOwned, check_owner, create_beside, open_regular
from whisperr._terminal import obeys_escapes, wants_colour

from .command import UsageError

if TYPE_CHECKING:
    from pathlib import Path

_MAX_CHECKPOINT_BYTES = 4 * 1024  # it has five numbers and a hash
_NO_DUPLICATES = "delivered events are not duplicated"
_INTERVAL = 0.1  # seconds between two drawings of the bar
_WIDTH = 30
_CLEAR = "\r\x1b[K"


class Progress(NamedTuple):
    """The progress of an import: everything up to `line` was delivered or refused."""

    line: int = 0  # the number of the last record; for rows, of its first line
    records: int = 0
    delivered: int = 0
    refused: int = 0  # records that are not valid events
    rejected: int = 0  # events that the server did not accept
    digest: str = ""  # a hash of these records

    @classmethod
    def load(cls, checkpoint: Path) -> Progress:
        """Return the saved progress; raises UsageError if the file is not a checkpoint."""
        try:
            saved = _read(checkpoint)
        except FileNotFoundError:
            print(
                "whisperr import: no checkpoint, as after a complete import; starting "
                "with the first line",
                file=sys.stderr,
            )
            return cls()
        except NotOwned as found:
            raise UsageError(f"{checkpoint}: {found}") from None
        except OSError as error:
            raise UsageError(f"{checkpoint}: {error.strerror}; choose another file") from None
        if saved is None:
            raise UsageError(
                f"{checkpoint} is not a checkpoint of an import; remove it and import without "
                f"--resume: {_NO_DUPLICATES}"
            )
        return saved

    def check_digest(self, digest: str, checkpoint: Path) -> None:
        """Raise UsageError unless this is the hash of the records before the checkpoint."""
        if self.digest != digest:
            raise UsageError(
                f"{checkpoint} belongs to other content: the file was changed; import without "
                f"--resume: {_NO_DUPLICATES}"
            )

    def save(self, checkpoint: Path) -> None:
        """Replace the checkpoint; an interruption leaves the old or the new one.

        Raises OSError; and UsageError, without a change, if the file is not a checkpoint.
        """
        if not is_checkpoint(checkpoint):
            raise UsageError(
                f"{checkpoint} is not a checkpoint of an import and is left unchanged; remove it, "
                "or choose another path with --checkpoint"
            )
        opened, fresh = create_beside(checkpoint)
        try:
            with os.fdopen(opened, "w", encoding="utf-8") as target:
                target.write(json.dumps(self._asdict()))
            os.replace(fresh, checkpoint)  # noqa: PTH105  # the one call that is atomic, by its name
        except BaseException:
            fresh.unlink(missing_ok=True)
            raise


def is_checkpoint(path: Path) -> bool:
    """Return whether a file may be replaced: it is a checkpoint, or does not exist."""
    try:
        return _read(path) is not None
    except FileNotFoundError:
        return True
    except NotOwned as found:
        raise UsageError(f"{path}: {found}") from None


def _read(checkpoint: Path) -> Progress | None:
    """Return the progress in a file; None if it is not a checkpoint.

    Raises OSError, and NotOwned for a checkpoint that others may have written.
    """
    opened = open_regular(checkpoint)
    try:
        saved = _parse(os.read(opened, _MAX_CHECKPOINT_BYTES))
        if saved is not None:
            check_owner(opened)
        return saved
    finally:
        os.close(opened)


def _parse(data: bytes) -> Progress | None:
    try:
        saved = json.loads(data)
    except (ValueError, RecursionError):
        return None
    if not isinstance(saved, dict) or set(saved) != {*Progress._fields}:
        return None
    if not isinstance(saved["digest"], str):
        return None
    counts = [value for name, value in saved.items() if name != "digest"]
    if not all(type(one) is int and 0 <= one <= sys.maxsize for one in counts):
        return None
    return Progress(**saved)


class ProgressBar:
    """A progress bar on the last line of a terminal, drawn a few times a second at most.

    If the stream is not a terminal, only the permanent lines are written. Errors of the stream,
    such as a closed pipe or a full disk, do not end the import.
    """

    def __init__(self, stream: TextIO, *, unit: str = "line", first: int = 0) -> None:
        self._stream = stream
        self._draws = obeys_escapes(stream)
        self._unit = unit
        self._began = time.monotonic()
        self._first = first
        self._drawn_at = -math.inf
        self._clear = ""  # the text that removes the bar, once one is drawn

    def show(self, progress: Progress, share: float | None) -> None:
        """Draw the progress, unless it was drawn just before, with a bar if the share is known."""
        now = time.monotonic()
        if not self._draws or now - self._drawn_at < _INTERVAL:
            return
        self._drawn_at = now
        self._clear = _CLEAR
        bar, width = "", 0
        if share is not None:
            filled = round(share * _WIDTH)
            done = "#" * filled
            if wants_colour(self._stream):
                done = f"\x1b[32m{done}\x1b[0m"
            bar, width = f"[{done}{'.' * (_WIDTH - filled)}] {share:4.0%} ", _WIDTH + 8
        rate = (progress.records - self._first) / max(now - self._began, _INTERVAL)
        text = f"{self._unit} {progress.line:,}, {rate:,.0f}/s"
        if progress.refused or progress.rejected:
            text += f", refused {progress.refused + progress.rejected:,}"
        room = shutil.get_terminal_size().columns - width - 1
        self._write(f"{_CLEAR}{bar}{text[: max(room, 0)]}")

    def line(self, text: str) -> None:
        """Write a permanent line, above the bar."""
        self._write(f"{self._clear}{text}\n")

    def end(self) -> None:
        """Remove the bar."""
        self._write(self._clear)

    def _write(self, text: str) -> None:
        with suppress(OSError, ValueError):
            self._stream.write(text)
            self._stream.flush()
