"""The checkpoint of an import: its progress, in a file that is replaced atomically."""

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
    """The progress in a file: everything before `offset` has been delivered or refused."""

    line: int = 0
    offset: int = 0
    delivered: int = 0
    refused: int = 0  # lines that are not valid events
    rejected: int = 0  # events that the server did not accept


class Checkpoint:
    """The file with the progress, and `prints`: hashes of the imported content before `offset`."""

    def __init__(self, imported: Path, path: Path | None = None) -> None:
        self.path = path or imported.with_name(f"{imported.name}.checkpoint")

    def load(self, file: BinaryIO) -> Progress | None:
        """Return the saved progress, None without a file; raises ValueError for a wrong one."""
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
            raise ValueError(f"{self.path} is not a checkpoint of an import") from None
        if prints != _hash_ends(file, progress.offset):
            raise ValueError(f"{self.path} belongs to other content: the file was changed")
        return progress

    def save(self, file: BinaryIO, progress: Progress) -> None:
        """Replace the checkpoint; raises OSError. An interruption leaves the old or the new one."""
        position = file.tell()
        text = json.dumps({**asdict(progress), "prints": _hash_ends(file, progress.offset)})
        file.seek(position)
        fresh = self.path.with_name(f"{self.path.name}.new")
        fresh.write_text(text, encoding="utf-8")
        os.replace(fresh, self.path)  # noqa: PTH105  # the one call that is atomic, by its name

    def remove(self) -> None:
        """Delete the file, when everything was imported."""
        self.path.unlink(missing_ok=True)


def _hash_ends(file: BinaryIO, offset: int) -> list[str]:
    """Return the hashes of the first and the last bytes before `offset`."""
    file.seek(0)
    head = file.read(min(_HEAD_BYTES, offset))
    start = max(0, offset - _TAIL_BYTES)
    file.seek(start)
    tail = file.read(offset - start)
    return [hashlib.sha256(part).hexdigest() for part in (head, tail)]
