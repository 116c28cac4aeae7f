"""The progress of an import: kept in a checkpoint, and drawn as a bar on a terminal."""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import sys
import time
from typing import TYPE_CHECKING, BinaryIO, NamedTuple, TextIO

from whisperr._owned import NotOwned, check_owner, create_beside, open_regular
from whisperr._terminal import wants_colour

from .command import UsageError

if TYPE_CHECKING:
    from pathlib import Path

_HEAD_BYTES = 64 * 1024
_MAX_CHECKPOINT_BYTES = 4 * 1024  # it has five numbers and two hashes
_NO_DUPLICATES = "events that were delivered are not duplicated"
_TAIL_BYTES = 4 * 1024
_INTERVAL = 0.1  # seconds between two drawings of the bar
_WIDTH = 30
_CLEAR = "\r\x1b[K"


class Progress(NamedTuple):
    """The progress in a file: everything before `offset` has been delivered or refused.

    A checkpoint also has `prints`: hashes of the imported content before `offset`.
    """

    line: int = 0
    offset: int = 0
    delivered: int = 0
    refused: int = 0  # lines that are not valid events
    rejected: int = 0  # events that the server did not accept

    @classmethod
    def load(cls, checkpoint: Path, file: BinaryIO) -> Progress:
        """Return the saved progress; raises UsageError for a file that is not its checkpoint."""
        try:
            saved = _read(checkpoint)
        except FileNotFoundError:
            print("whisperr import: no checkpoint; starting with the first line", file=sys.stderr)
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
        progress, prints = saved
        if progress.offset > file.seek(0, 2) or prints != _hash_ends(file, progress.offset):
            raise UsageError(
                f"{checkpoint} belongs to other content: the file was changed; import without "
                f"--resume: {_NO_DUPLICATES}"
            )
        return progress

    def save(self, checkpoint: Path, file: BinaryIO) -> None:
        """Replace the checkpoint; raises OSError. An interruption leaves the old or the new one.

        Raises UsageError, and leaves the file as it is, when it is not a checkpoint.
        """
        if not is_checkpoint(checkpoint):
            raise UsageError(
                f"{checkpoint} is not a checkpoint of an import and is left as it is; remove it, "
                "or choose another path with --checkpoint"
            )
        position = file.tell()
        text = json.dumps({**self._asdict(), "prints": _hash_ends(file, self.offset)})
        file.seek(position)
        opened, fresh = create_beside(checkpoint)
        try:
            with os.fdopen(opened, "w", encoding="utf-8") as target:
                target.write(text)
            os.replace(fresh, checkpoint)  # noqa: PTH105  # the one call that is atomic, by its name
        except BaseException:
            fresh.unlink(missing_ok=True)
            raise


def is_checkpoint(path: Path) -> bool:
    """Return whether a file may be replaced or removed: it is a checkpoint, or there is none."""
    try:
        return _read(path) is not None
    except FileNotFoundError:
        return True
    except NotOwned as found:
        raise UsageError(f"{path}: {found}") from None


def _read(checkpoint: Path) -> tuple[Progress, list[str]] | None:
    """Return what a file holds; None for anything else than a checkpoint.

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


def _parse(data: bytes) -> tuple[Progress, list[str]] | None:
    try:
        saved = json.loads(data)
    except (ValueError, RecursionError):
        return None
    if not isinstance(saved, dict) or set(saved) != {*Progress._fields, "prints"}:
        return None
    prints = saved.pop("prints")
    if not isinstance(prints, list) or not all(isinstance(one, str) for one in prints):
        return None
    if not all(type(one) is int and 0 <= one <= sys.maxsize for one in saved.values()):
        return None
    return Progress(**saved), prints


def _hash_ends(file: BinaryIO, offset: int) -> list[str]:
    """Return the hashes of the first and the last bytes before `offset`."""
    file.seek(0)
    head = file.read(min(_HEAD_BYTES, offset))
    start = max(0, offset - _TAIL_BYTES)
    file.seek(start)
    tail = file.read(offset - start)
    return [hashlib.sha256(part).hexdigest() for part in (head, tail)]


class ProgressBar:
    """A bar on the last line of a terminal, drawn a few times a second at most.

    On anything else than a terminal, only the other lines are written.
    """

    def __init__(self, stream: TextIO, *, total: int, first: int = 0) -> None:
        self._stream = stream
        self._total = total
        self._began = time.monotonic()
        self._first = first
        self._drawn_at = -math.inf
        self._clear = ""  # what removes the bar, once there is one

    def show(self, progress: Progress) -> None:
        """Draw the progress, unless it was drawn just before."""
        now = time.monotonic()
        if not self._stream.isatty() or now - self._drawn_at < _INTERVAL:
            return
        self._drawn_at = now
        self._clear = _CLEAR
        share = progress.offset / self._total if self._total else 1.0
        filled = round(share * _WIDTH)
        bar = "#" * filled
        if wants_colour(self._stream):
            bar = f"\x1b[32m{bar}\x1b[0m"
        rate = (progress.line - self._first) / max(now - self._began, _INTERVAL)
        text = f" {share:4.0%} line {progress.line:,}, {rate:,.0f}/s"
        if progress.refused or progress.rejected:
            text += f", refused {progress.refused + progress.rejected:,}"
        room = shutil.get_terminal_size().columns - _WIDTH - 3
        self._write(f"{_CLEAR}[{bar}{'.' * (_WIDTH - filled)}]{text[: max(room, 0)]}")

    def line(self, text: str) -> None:
        """Write a permanent line, above the bar."""
        self._write(f"{self._clear}{text}\n")

    def end(self) -> None:
        """Remove the bar."""
        self._write(self._clear)

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()
