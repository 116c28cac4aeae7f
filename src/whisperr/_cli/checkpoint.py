"""How far an import has come, in a file beside the imported one that is replaced whole."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from pathlib import Path

_HEAD_BYTES = 64 * 1024
_TAIL_BYTES = 4 * 1024


@dataclass
class Progress:
    """What was done of a file: everything before `offset` has been delivered or refused."""

    line: int = 0
    offset: int = 0
    delivered: int = 0
    refused: int = 0  # lines that became no event
    rejected: int = 0  # events that the server did not take


class Checkpoint:
    """The file that says it. `prints` tell whether what was read before is still there."""

    def __init__(self, imported: Path, place: Path | None = None) -> None:
        self.path = place or imported.with_name(f"{imported.name}.checkpoint")

    def load(self, file: BinaryIO) -> Progress | None:
        """Return what was saved; None when nothing was. Raises ValueError when it does not fit."""
        try:
            saved = json.loads(self.path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise ValueError(f"{self.path}: {error}") from None
        try:
            prints = saved.pop("prints")
            progress = Progress(**saved)
        except (AttributeError, KeyError, TypeError):
            raise ValueError(f"{self.path} is no checkpoint of an import") from None
        if prints != _prints(file, progress.offset):
            raise ValueError(f"{self.path} belongs to other content: the file was changed")
        return progress

    def save(self, file: BinaryIO, progress: Progress) -> None:
        """Replace the checkpoint; raises OSError. An interruption leaves the old or the new one."""
        place = file.tell()
        text = json.dumps({**asdict(progress), "prints": _prints(file, progress.offset)})
        file.seek(place)
        fresh = self.path.with_name(f"{self.path.name}.new")
        fresh.write_text(text, encoding="utf-8")
        os.replace(fresh, self.path)  # noqa: PTH105  # the one call that is atomic, by its name

    def remove(self) -> None:
        """Remove it: everything was read."""
        self.path.unlink(missing_ok=True)


def _prints(file: BinaryIO, offset: int) -> list[str]:
    """Return what the first and the last bytes before a place hash to."""
    file.seek(0)
    head = file.read(min(_HEAD_BYTES, offset))
    start = max(0, offset - _TAIL_BYTES)
    file.seek(start)
    tail = file.read(offset - start)
    return [hashlib.sha256(part).hexdigest() for part in (head, tail)]
