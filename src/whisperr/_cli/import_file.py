"""`whisperr import`: send a file of past events, a bounded chunk at a time.

A chunk is at most 500 lines or 4 MiB. It is tracked and flushed, and then the checkpoint is saved:
what was not delivered is read again, with the same ids. So memory is bounded by the chunk, and the
client's queue never overflows.
"""

from __future__ import annotations

import shlex
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from whisperr import InvalidEvent
from whisperr._contract import MAX_BATCH_EVENTS
from whisperr._terminal import printable

from .command import CommandError, Sender, UsageError, add_command, add_sending_options
from .import_lines import read_lines, send_line
from .progress import Checkpoint, Progress, ProgressBar

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from .import_lines import Line

_CHUNK_BYTES = 4 * 1024 * 1024
_MAX_REPORTS = 20  # refused lines that are printed; further ones are only counted
_SHUTDOWN_TIMEOUT = 1.0  # seconds for the requests under way when it is interrupted
_EXAMPLES = """\
  whisperr import events.jsonl
      show progress, and refused lines with their number
  whisperr import events.jsonl --resume
      continue an interrupted import
"""


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "import",
        _run,
        "send past events from a file, with a checkpoint",
        "Send the events and identifies of a file, one JSON object on a line, in the "
        "shape of the wire: external_user_id, event_type, occurred_at (at most 30 days ago), "
        "properties, context, message_id; an identify has no event_type. An event without a "
        "message_id gets one from its content, so that a second import adds no duplicates; two "
        "lines with the same content are one event. The key is read from WHISPERR_API_KEY.",
        _EXAMPLES,
    )
    parser.add_argument("file", metavar="FILE.jsonl", type=Path)
    parser.add_argument("--resume", action="store_true", help="continue from the checkpoint")
    parser.add_argument(
        "--checkpoint", metavar="PATH", type=Path, help="else FILE.jsonl.checkpoint"
    )
    add_sending_options(parser)


def _run(arguments: argparse.Namespace) -> int:
    try:
        file = arguments.file.open("rb")
        file.seek(0, 2)
    except OSError as error:
        hint = "give a file with an event on each line"
        raise UsageError(f"{arguments.file}: {error.strerror}; {hint}") from None
    try:
        with file:
            return _Import(arguments, file).run()
    except OSError as error:  # of the file or of its checkpoint, while importing
        raise CommandError(f"{error}; continue with --resume") from None


class _Import:
    """One run of an import."""

    def __init__(self, arguments: argparse.Namespace, file: BinaryIO) -> None:
        self._file = file
        self._arguments = arguments
        self._checkpoint = Checkpoint(arguments.file, arguments.checkpoint)
        self._progress = self._checkpoint.load(file) if arguments.resume else Progress()
        self._reports = 0
        # The client sends only when it is flushed, a chunk at a time.
        self._sender = Sender(arguments, flush_at=2 * MAX_BATCH_EVENTS, flush_interval=86_400.0)
        self._bar = ProgressBar(sys.stderr, total=file.seek(0, 2), first=self._progress.line)
        try:
            self._checkpoint.save(file, self._progress)
        except OSError as error:
            raise UsageError(
                f"cannot write {self._checkpoint.path}: {error.strerror}; choose another path with "
                "--checkpoint"
            ) from None

    def run(self) -> int:
        """Import to the end; return the exit code."""
        began, first = time.monotonic(), self._progress.delivered
        try:
            problem = self._send_chunks()
        except KeyboardInterrupt:
            self._sender.client.shutdown(_SHUTDOWN_TIMEOUT)
            problem = "interrupted"
        self._bar.end()
        progress = self._progress
        if problem is not None:
            command = shlex.join(["whisperr", "import", str(self._arguments.file), "--resume"])
            stopped = f"stopped after line {progress.line}: {problem}"
            raise CommandError(f"{stopped}; continue with: {command}")
        self._checkpoint.path.unlink(missing_ok=True)
        self._sender.client.shutdown()
        spent = time.monotonic() - began
        rate = (progress.delivered - first) / spent if spent else 0.0
        print(
            f"delivered {progress.delivered:,} of {progress.line:,} lines in {spent:.1f} s "
            f"({rate:,.0f}/s); refused here {progress.refused:,}, by the server "
            f"{progress.rejected:,}"
        )
        return 1 if progress.refused or progress.rejected else 0

    def _send_chunks(self) -> str | None:
        """Send chunk after chunk; return why it stopped, None at the end of the file."""
        client, start = self._sender.client, self._progress
        lines = read_lines(self._file, self._progress.line, self._progress.offset)
        while chunk := _take_chunk(lines):
            refused = sum(not self._track(line) for line in chunk)
            if not client.flush():
                problem = client.stats().problem or "no answer"
                client.shutdown(0)
                return problem
            stats = client.stats()
            rejected = start.rejected + sum(stats.dropped.values())
            fresh = rejected - self._progress.rejected
            if fresh:
                span = f"lines {chunk[0].number} to {chunk[-1].number}"
                message = self._sender.errors[-1].message if self._sender.errors else "refused"
                self._report(f"{span}: {fresh} not accepted by the server: {message}")
            self._progress = Progress(
                line=chunk[-1].number,
                offset=chunk[-1].end,
                delivered=start.delivered + stats.delivered,
                refused=self._progress.refused + refused,
                rejected=rejected,
            )
            self._checkpoint.save(self._file, self._progress)
            self._bar.show(self._progress)
        return None

    def _track(self, line: Line) -> bool:
        """Track one line; report what is wrong with it, and return False, if it is refused."""
        try:
            send_line(self._sender.client, line.data)
        except InvalidEvent as error:
            self._report(f"line {line.number}: {error}")
            return False
        return True

    def _report(self, text: str) -> None:
        self._reports += 1
        if self._reports <= _MAX_REPORTS:
            self._bar.line(printable(text))
        elif self._reports == _MAX_REPORTS + 1:
            self._bar.line("further lines are only counted")


def _take_chunk(lines: Iterator[Line]) -> list[Line]:
    """Return the next lines, as many as are sent at once; none at the end of the file."""
    chunk: list[Line] = []
    size = 0
    for line in lines:
        chunk.append(line)
        size += len(line.data or b"")
        if len(chunk) >= MAX_BATCH_EVENTS or size >= _CHUNK_BYTES:
            break
    return chunk
