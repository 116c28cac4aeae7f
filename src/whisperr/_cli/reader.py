"""Reads the records of an import in chunks, in the format of the content."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from whisperr import InvalidEvent
from whisperr._contract import MAX_BATCH_EVENTS

from .calls import parse_object
from .command import UsageError
from .content import ContentError, translate_errors
from .records import ArrayReader, is_array, read_lines, read_rows

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from .content import Content
    from .mapping import FieldMap
    from .progress import Progress
    from .records import Record

_CHUNK_BYTES = 4 * 1024 * 1024


class Reader:
    """The records of a content, from the first one.

    - `unit`: what the numbers of records count. `noun`: what a record is called.
    - `problem`: why the content could not be read to its end, if so.

    Raises UsageError for rows whose columns do not fit the mapping.
    """

    def __init__(self, content: Content, fields: FieldMap, *, is_csv: bool) -> None:
        self.unit = self.noun = "line"
        self.problem: str | None = None
        self._fields = fields
        self._content = content
        self._digest = hashlib.sha256()  # of the header and of the records so far
        self._records: Iterator[Record] = iter(())
        try:
            with translate_errors():
                self._records = self._open_rows(content) if is_csv else self._open_json(content)
        except ContentError as error:
            self.problem = str(error)

    def _open_json(self, content: Content) -> Iterator[Record]:
        array, first, lines_before = is_array(content.stream)
        if array:
            self.unit = self.noun = "item"
            return ArrayReader().read(content.stream, first)
        return read_lines(content.stream, first, lines_before)

    def _open_rows(self, content: Content) -> Iterator[Record]:
        self.noun = "row"
        rows = read_rows(content.stream)
        header = next(rows, None)
        if header is not None:
            if header.problem:
                raise UsageError(f"line {header.number}: the header: {header.problem}")
            self._fields.set_columns(header.cells or ())
            self._digest.update(header.data)
        return rows

    @property
    def digest(self) -> str:
        """A hash of the records so far."""
        return self._digest.hexdigest()

    def get_share(self) -> float | None:
        """Return the share of the content read so far, from 0 to 1; None if it is not known."""
        return self._content.get_share()

    def _read(self) -> Record | None:
        try:
            with translate_errors():
                record = next(self._records, None)
        except ContentError as error:
            self.problem = str(error)
            return None
        if record is not None:
            self._digest.update(record.data)
        return record

    def skip(self, progress: Progress, checkpoint: Path) -> None:
        """Skip the imported records; raises UsageError if they are not those of the checkpoint."""
        if progress.line == 0:
            return
        record = self._read()
        while record is not None and record.number < progress.line:
            record = self._read()
        progress.check_digest(self.digest, checkpoint)

    def take_chunk(self) -> list[Record]:
        """Return the next chunk of records; an empty one at the end."""
        chunk: list[Record] = []
        size = 0
        while len(chunk) < MAX_BATCH_EVENTS and size < _CHUNK_BYTES:
            record = self._read()
            if record is None:
                break
            chunk.append(record)
            size += len(record.data)
        return chunk

    def parse(self, record: Record) -> dict[str, Any] | None:
        """Return the object of a record, before the mapping; None for a blank line.

        Raises InvalidEvent, whose text says what is wrong.
        """
        if record.problem is not None:
            raise InvalidEvent(record.problem)
        if record.cells is not None:
            return self._fields.to_object(record.cells)
        return parse_object(record.data)
