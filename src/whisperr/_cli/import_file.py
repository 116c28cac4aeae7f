"""`whisperr import`: send a file of past events, a bounded chunk at a time.

A chunk is at most 500 lines or 4 MiB. It is tracked and flushed, and then the checkpoint is saved:
what was not delivered is read again, with the same ids. So memory is bounded by the chunk, and the
client's queue never overflows.

A line is a JSON object in the shape of the wire: an event has an `event_type`, everything else is
an identify. So events that `on_error` received as dropped can be imported unchanged.
"""

from __future__ import annotations

import hashlib
import json
import shlex
import stat
import sys
import time
from datetime import datetime, timedelta, timezone
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from whisperr import InvalidEvent, Whisperr
from whisperr._contract import MAX_BATCH_EVENTS
from whisperr._events.redaction import redact
from whisperr._foreign import printable
from whisperr._integrations.values import parse_json, parse_moment

from .command import CommandError, Sender, UsageError, add_command, add_sending_options
from .progress import Progress, ProgressBar, is_checkpoint

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Mapping

MAX_LINE_BYTES = 1024 * 1024
# CONTRACT, Event. `track` itself is not as strict about the future, because of clocks that differ.
_AHEAD = timedelta(minutes=5)
_ID_DIGITS = 32
_EVENT_KEYS = tuple(signature(Whisperr.track).parameters)[1:]  # without self
_IDENTIFY_KEYS = tuple(signature(Whisperr.identify).parameters)[1:]
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
    hint = "give a file with an event on each line"
    try:
        # Before it is opened: opening a pipe waits, and a device has no end.
        if not stat.S_ISREG(arguments.file.stat().st_mode):
            raise UsageError(f"{arguments.file}: not a regular file; {hint}")
        file = arguments.file.open("rb")
    except OSError as error:
        raise UsageError(f"{arguments.file}: {error.strerror}; {hint}") from None
    try:
        with file:
            return _Import(arguments, file).run()
    except OSError as error:  # of the file or of its checkpoint, while importing
        raise CommandError(f"{error}; continue with --resume") from None


class Line(NamedTuple):
    """One line: its number from 1, the offset of its end, its bytes (None when it is too long)."""

    number: int
    end: int
    data: bytes | None


class _Import:
    """One run of an import."""

    def __init__(self, arguments: argparse.Namespace, file: BinaryIO) -> None:
        self._file = file
        self._arguments = arguments
        beside: Path = arguments.file.with_name(f"{arguments.file.name}.checkpoint")
        self._checkpoint: Path = arguments.checkpoint or beside
        self._progress = Progress.load(self._checkpoint, file) if arguments.resume else Progress()
        self._reports = 0
        # The client sends only when it is flushed, a chunk at a time.
        self._sender = Sender(arguments, flush_at=2 * MAX_BATCH_EVENTS, flush_interval=86_400.0)
        self._bar = ProgressBar(sys.stderr, total=file.seek(0, 2), first=self._progress.line)
        try:
            self._progress.save(self._checkpoint, file)
        except OSError as error:
            problem = f"cannot write {self._checkpoint}: {error.strerror}"
            raise UsageError(f"{problem}; choose another path with --checkpoint") from None

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
        if is_checkpoint(self._checkpoint):
            self._checkpoint.unlink(missing_ok=True)
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
            self._progress.save(self._checkpoint, self._file)
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


def read_lines(file: BinaryIO, line: int, offset: int) -> Iterator[Line]:
    """Yield the lines from an offset on, with at most MAX_LINE_BYTES of each in memory."""
    file.seek(offset)
    while data := file.readline(MAX_LINE_BYTES + 1):
        line += 1
        whole = len(data) <= MAX_LINE_BYTES
        while not whole and not data.endswith(b"\n"):
            data = file.readline(MAX_LINE_BYTES)
            if not data:
                break
        yield Line(line, file.tell(), data if whole else None)


def send_line(client: Whisperr, data: bytes | None) -> None:
    """Make the call of one line with a strict client; none for a blank line.

    Raises InvalidEvent that says what is wrong with the line.
    """
    if data is None:
        raise InvalidEvent(
            f"longer than {MAX_LINE_BYTES} bytes; is every event on a line of its own?"
        )
    try:
        text = data.decode("utf-8-sig").strip()
    except UnicodeDecodeError as error:
        raise InvalidEvent(f"not UTF-8 at byte {error.start}") from None
    if not text:
        return
    try:
        value = parse_json(text)
    except ValueError as error:
        raise InvalidEvent(f"not JSON: {error}") from None
    if not isinstance(value, dict):
        raise InvalidEvent(f"must be a JSON object, got {type(value).__name__}")
    is_event = "event_type" in value
    kind = "an event" if is_event else "an identify (it has no event_type)"
    known = _EVENT_KEYS if is_event else _IDENTIFY_KEYS
    for key in value:
        if key not in known:
            raise InvalidEvent(f"{redact(key)}: {kind} has only the keys {', '.join(known)}")
    arguments = {"external_user_id": None, **value}
    if is_event:
        moment = _parse_occurred_at(value.get("occurred_at"))
        client.track(**{**arguments, "occurred_at": moment, "message_id": get_message_id(value)})
    else:
        client.identify(**arguments)


def get_message_id(event: Mapping[str, Any]) -> str:
    """Return the id that an event has, or one derived from its content: 32 hex digits.

    The order of the keys does not matter. So a second import of a line adds no duplicate.
    """
    context = event.get("context")
    given = event.get("message_id") or (
        context.get("$message_id") if isinstance(context, dict) else None
    )
    if given:
        return str(given)
    text = json.dumps(event, sort_keys=True, default=str, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:_ID_DIGITS]


def _parse_occurred_at(stamp: object) -> datetime:
    if not isinstance(stamp, str):
        raise InvalidEvent("occurred_at: an imported event needs the time it happened, as a string")
    try:
        moment = parse_moment(stamp)
    except ValueError as error:
        raise InvalidEvent(f"occurred_at: {error}") from None
    if moment > datetime.now(timezone.utc) + _AHEAD:
        raise InvalidEvent(
            f"occurred_at: {stamp} is more than 5 minutes ahead; the server refuses it"
        )
    return moment
