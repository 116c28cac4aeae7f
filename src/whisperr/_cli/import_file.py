"""`whisperr import`: bring a file of past events in, a bounded piece at a time.

A piece is at most 500 lines or 4 MiB. It is tracked, flushed, and then the checkpoint is moved
behind it: what was not delivered is read again, with the same ids. So memory is bounded by the
piece and the queue of the client never overflows.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from whisperr import InvalidEvent
from whisperr._contract import MAX_BATCH_EVENTS
from whisperr._terminal import printable

from .checkpoint import Checkpoint, Progress
from .import_lines import lines_of, send_line
from .progress import Bar
from .sender import Sender, WrongCallError, add_options, examples, fail

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .import_lines import Line

_PIECE_BYTES = 4 * 1024 * 1024
# Refused lines that are shown; the others are counted.
_SHOWN = 20
_LAST_WAIT = 1.0  # seconds for what is on its way when the import is interrupted


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "import",
        help="bring in past events from a file, with a checkpoint",
        description="Send the events and identifies of a file, one JSON object on a line, in the "
        "shape of the wire: external_user_id, event_type, occurred_at (at most 30 days ago), "
        "properties, context, message_id; an identify has no event_type. An event without a "
        "message_id gets one from its content, so that importing it again doubles nothing; two "
        "lines with the same content are one event. The key is taken from WHISPERR_API_KEY.",
        epilog=examples(
            ("whisperr import events.jsonl", "show progress, and refused lines with their number"),
            ("whisperr import events.jsonl --resume", "go on where an import was interrupted"),
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", metavar="FILE.jsonl", type=Path)
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint")
    parser.add_argument(
        "--checkpoint", metavar="PATH", type=Path, help="else FILE.jsonl.checkpoint"
    )
    add_options(parser)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    try:
        with _opened(arguments.file) as file:
            return _Import(arguments, file).run()
    except WrongCallError as error:
        return fail("import", str(error), 2)
    except OSError as error:  # of the file or of its checkpoint, on the way
        return fail("import", f"{error}; go on with --resume", 1)


def _opened(path: Path) -> BinaryIO:
    try:
        file = path.open("rb")
        file.seek(0, 2)
    except OSError as error:
        raise WrongCallError(
            f"{path}: {error.strerror}; give a file with an event on each line"
        ) from None
    return file


class _Import:
    """One run: where it is, what it sent, and what it says."""

    def __init__(self, arguments: argparse.Namespace, file: BinaryIO) -> None:
        self._file = file
        self._arguments = arguments
        self._checkpoint = Checkpoint(arguments.file, arguments.checkpoint)
        self._progress = self._start(resume=arguments.resume)
        self._shown = 0
        # It sends when it is asked to, a piece at a time.
        self._sender = Sender(
            arguments.base_url,
            test_mode=arguments.test,
            flush_at=2 * MAX_BATCH_EVENTS,
            flush_interval=86_400.0,
        )
        self._bar = Bar(sys.stderr, total=file.seek(0, 2), first=self._progress.line)
        try:
            self._checkpoint.save(file, self._progress)
        except OSError as error:
            raise WrongCallError(
                f"cannot write {self._checkpoint.path}: {error.strerror}; name another place with "
                "--checkpoint"
            ) from None

    def run(self) -> int:
        """Import to the end; return the exit code."""
        began, first = time.monotonic(), self._progress.delivered
        try:
            problem = self._pieces()
        except KeyboardInterrupt:
            self._sender.client.shutdown(_LAST_WAIT)
            problem = "interrupted"
        self._bar.end()
        progress = self._progress
        if problem is not None:
            again = shlex.join(["whisperr", "import", str(self._arguments.file), "--resume"])
            place = f"stopped after line {progress.line}"
            return fail("import", f"{place}: {problem}; go on with: {again}", 1)
        self._checkpoint.remove()
        self._sender.client.shutdown()
        spent = time.monotonic() - began
        rate = (progress.delivered - first) / spent if spent else 0.0
        print(
            f"delivered {progress.delivered:,} of {progress.line:,} lines in {spent:.1f} s "
            f"({rate:,.0f}/s); refused here {progress.refused:,}, by the server "
            f"{progress.rejected:,}"
        )
        return 1 if progress.refused or progress.rejected else 0

    def _start(self, *, resume: bool) -> Progress:
        if not resume:
            return Progress()
        try:
            saved = self._checkpoint.load(self._file)
        except ValueError as error:
            raise WrongCallError(
                f"{error}; import without --resume: what was delivered is not doubled"
            ) from None
        if saved is None:
            print("whisperr import: no checkpoint, so from the first line on", file=sys.stderr)
        return saved or Progress()

    def _pieces(self) -> str | None:
        """Send piece after piece; return what stopped it, None at the end of the file."""
        lines = lines_of(self._file, self._progress.line, self._progress.offset)
        while piece := _piece_of(lines):
            before = self._sender.client.stats()
            refused = sum(self._refuses(line) for line in piece)
            if not self._sender.client.flush():
                problem = self._sender.client.stats().problem or "no answer"
                self._sender.client.shutdown(0)
                return problem
            after = self._sender.client.stats()
            rejected = sum(after.dropped.values()) - sum(before.dropped.values())
            if rejected:
                span = f"lines {piece[0].number} to {piece[-1].number}"
                said = self._sender.errors[-1].message if self._sender.errors else "refused"
                self._say(f"{span}: {rejected} not taken by the server: {said}")
            progress = self._progress
            self._progress = Progress(
                line=piece[-1].number,
                offset=piece[-1].end,
                delivered=progress.delivered + after.delivered - before.delivered,
                refused=progress.refused + refused,
                rejected=progress.rejected + rejected,
            )
            self._checkpoint.save(self._file, self._progress)
            self._bar.show(self._progress)
        return None

    def _refuses(self, line: Line) -> bool:
        """Track one line; say what is wrong with it if it becomes no event."""
        try:
            send_line(self._sender.client, line.data)
        except InvalidEvent as error:
            self._say(f"line {line.number}: {error}")
            return True
        return False

    def _say(self, text: str) -> None:
        self._shown += 1
        if self._shown <= _SHOWN:
            self._bar.line(printable(text))
        elif self._shown == _SHOWN + 1:
            self._bar.line("further lines are counted only")


def _piece_of(lines: Iterator[Line]) -> list[Line]:
    """Take the next lines, as many as are sent at once; empty at the end of the file."""
    piece: list[Line] = []
    size = 0
    for line in lines:
        piece.append(line)
        size += len(line.data or b"")
        if len(piece) >= MAX_BATCH_EVENTS or size >= _PIECE_BYTES:
            break
    return piece
