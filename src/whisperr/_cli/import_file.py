"""`whisperr import`: sends a file of past events in chunks.

A chunk has at most 500 records or 4 MiB. The command tracks and flushes it, then saves the
checkpoint. A record that was not delivered is read again later, with the same id. So memory is
bounded by a chunk, and the queue of the client never overflows.

A resumed import reads its content from the beginning, and sends nothing before the checkpoint. So
plain files, compressed files and standard input all resume in the same way.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whisperr import InvalidEvent
from whisperr._contract import MAX_BATCH_EVENTS
from whisperr._foreign import printable
from whisperr._platform import is_closed_pipe

from .calls import send_object
from .command import (
    CommandError,
    Interrupted,
    Sender,
    UsageError,
    add_command,
    format_count,
    join_words,
)
from .content import STDIN, open_content
from .dry_run import DryRun
from .hints import get_hint
from .import_options import EXAMPLES, add_options
from .mapping import FieldMap, ShapeError
from .progress import Progress, ProgressBar, is_checkpoint
from .provider_events import EventReader, check_options
from .reader import Reader

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from .command import Parser
    from .records import Record

_MAX_REPORTS = 20  # refused records that are printed; the others are only counted
_SHUTDOWN_TIMEOUT = 1.0  # seconds for the request in flight when it is interrupted


def add_to(commands: argparse._SubParsersAction[Parser]) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "import",
        _run,
        "send past events from a file, with a checkpoint",
        "Send the events and identifies of a file: one JSON object on each line, a JSON array, or "
        "CSV with a header, plain or compressed with gzip. An event has external_user_id, "
        "event_type and occurred_at (at most 30 days ago), and may have properties, context and "
        "message_id. A record without event_type is an identify. An event without message_id gets "
        "one from its content, so importing a file again adds no duplicates, and two lines with "
        "the same content are one event. The key is read from WHISPERR_API_KEY.",
        EXAMPLES,
        usage="FILE",
    )
    add_options(parser)


def _run(arguments: argparse.Namespace) -> int:
    if arguments.file is None:
        arguments.parser.error(
            "which file? Give its path, or - for standard input: whisperr import events.jsonl"
        )
    check_options(arguments)
    fields = FieldMap(arguments.map, arguments.set)
    if arguments.file == STDIN:
        if arguments.resume and arguments.checkpoint is None:
            raise UsageError("--resume with standard input needs --checkpoint PATH as well")
        if sys.stdin is not None and sys.stdin.isatty():
            print(
                "whisperr import: reading from the terminal; Ctrl-D ends the input", file=sys.stderr
            )
    try:
        with open_content(arguments.file) as content:
            if arguments.provider is not None:
                events = EventReader(content, arguments)
                return _Import(arguments, events, fields).run()
            reader = Reader(content, fields, is_csv=_is_csv(arguments))
            return _Import(arguments, reader, fields).run()
    except ShapeError as error:
        text = f"{arguments.file}: {error}; run: {_join_command(arguments, *error.options)}"
        if error.instead:
            text += f"; or, if the rows are users: {_join_command(arguments, *error.instead)}"
        raise UsageError(text) from None
    except OSError as error:  # of the checkpoint, while importing
        raise CommandError(f"{error}; continue with: {_join_resume(arguments)}") from None


def _join_command(arguments: argparse.Namespace, *options: str) -> str:
    """Return the command line of this import, with more options."""
    words = [word for option in options for word in option.split(" ", 1)]
    return join_words(arguments, *words)


def _join_resume(arguments: argparse.Namespace) -> str:
    """Return the command line that continues this import."""
    return join_words(arguments, "--resume", without="--resume")


class _Import:
    """One run of an import."""

    def __init__(
        self, arguments: argparse.Namespace, reader: Reader | EventReader, fields: FieldMap
    ) -> None:
        self._arguments = arguments
        self._reader = reader
        self._fields = fields
        self._dry_run = DryRun() if arguments.dry_run else None
        self._checkpoint = _get_checkpoint(arguments)
        self._reports = 0
        self._hinted = False
        self._progress = Progress()
        if arguments.resume and self._checkpoint is not None:
            self._progress = Progress.load(self._checkpoint)
        # The client sends only when it is flushed, once a chunk.
        options: dict[str, Any] = {"flush_at": 2 * MAX_BATCH_EVENTS, "flush_interval": 86_400.0}
        if self._dry_run is not None:
            options["transport"] = self._dry_run
        self._sender = Sender(arguments, **options)
        self._bar = ProgressBar(sys.stderr, unit=reader.unit, first=self._progress.records)
        if self._checkpoint is not None:
            reader.skip(self._progress, self._checkpoint)
        try:
            self._save()
        except OSError as error:
            problem = f"cannot write {self._checkpoint}: {error.strerror}"
            raise UsageError(f"{problem}; choose another path with --checkpoint") from None

    def run(self) -> int:
        """Import everything; return the exit code."""
        began, first = time.monotonic(), self._progress.delivered
        interrupted = False
        try:
            problem = self._send_chunks() or self._reader.problem
        except KeyboardInterrupt:
            self._sender.client.shutdown(_SHUTDOWN_TIMEOUT)
            problem, interrupted = "interrupted", True
        self._bar.end()
        self._report_left_out()
        if problem is not None:
            raise (Interrupted if interrupted else CommandError)(self._describe_stop(problem))
        self._remove_checkpoint()
        self._sender.client.shutdown()
        if not self._progress.records:
            self._bar.line(f"whisperr import: {printable(self._arguments.file)} is empty")
        self._print_summary(time.monotonic() - began, first)
        return 1 if self._is_incomplete() else 0

    def _is_incomplete(self) -> bool:
        """Return whether something was not delivered."""
        if isinstance(self._reader, EventReader) and self._reader.outcome.without_user:
            return True
        return bool(self._progress.refused or self._progress.rejected)

    def _send_chunks(self) -> str | None:
        """Send all chunks; return why the import stopped, or None at the end of the content."""
        client, start = self._sender.client, self._progress
        while chunk := self._reader.take_chunk():
            refused = sum(map(self._send, chunk))
            if not self._sender.flush(None, self._report_waiting):
                problem = self._sender.describe_failure("no answer")
                client.shutdown(0)
                return problem
            stats = client.stats()
            rejected = start.rejected + sum(stats.dropped.values())
            fresh = rejected - self._progress.rejected
            if fresh:
                span = f"{self._reader.unit}s {chunk[0].number} to {chunk[-1].number}"
                message = self._sender.errors[-1].message if self._sender.errors else "refused"
                self._report(f"{span}: {fresh} not accepted by the server: {message}")
            self._progress = Progress(
                line=chunk[-1].number,
                records=self._progress.records + len(chunk),
                delivered=start.delivered + stats.delivered,
                refused=self._progress.refused + refused,
                rejected=rejected,
                digest=self._reader.digest,
            )
            self._save()
            self._bar.show(self._progress, self._reader.get_share())
        return None

    def _send(self, record: Record) -> int:
        """Track one record; report what is refused, and return how many that are."""
        if isinstance(self._reader, EventReader):
            refused = list(self._reader.send(self._sender.client, record))
            for problem in refused:
                self._report(problem)
            return len(refused)
        value: dict[str, Any] | None = None
        try:
            value = self._reader.parse(record)
            if value is not None:
                mapped = self._fields.apply(value) if self._fields else value
                event_type = send_object(self._sender.client, mapped)
                if self._dry_run is not None:
                    self._dry_run.count(event_type)
        except InvalidEvent as error:
            self._report(f"{self._reader.unit} {record.number}: {error}")
            self._hint(record, value, str(error))
            return 1
        return 0

    def _hint(self, record: Record, value: dict[str, Any] | None, error: str) -> None:
        """Report, once, the options with which a refused record would be valid."""
        if self._hinted:
            return
        file = self._arguments.file
        text = get_hint(record, value, error, self._fields, file, self._join)
        if text:
            self._hinted = True
            self._bar.line(f"hint: {text}")

    def _join(self, *options: str) -> str:
        return _join_command(self._arguments, *options)

    def _save(self) -> None:
        if self._checkpoint is not None and self._dry_run is None:
            self._progress.save(self._checkpoint)

    def _remove_checkpoint(self) -> None:
        if self._checkpoint is None or self._dry_run is not None:
            return
        if is_checkpoint(self._checkpoint):
            self._checkpoint.unlink(missing_ok=True)

    def _report(self, text: str) -> None:
        self._reports += 1
        if self._reports <= _MAX_REPORTS:
            self._bar.line(printable(text))
        elif self._reports == _MAX_REPORTS + 1:
            self._bar.line(f"further {self._reader.noun}s are only counted")

    def _report_waiting(self, text: str) -> None:
        self._bar.line(printable(f"whisperr import: {text}"))

    def _describe_stop(self, problem: str) -> str:
        progress = self._progress
        done = "would have sent" if self._dry_run is not None else "delivered"
        text = (
            f"stopped after {self._reader.unit} {progress.line}: {problem}; "
            f"{done} {progress.delivered:,}"
        )
        if self._dry_run is not None:
            return text
        if self._checkpoint is None:
            return f"{text}; run the same import again: nothing is duplicated"
        return f"{text}; continue with: {_join_resume(self._arguments)}"

    def _report_left_out(self) -> None:
        if isinstance(self._reader, EventReader):
            if text := self._reader.outcome.describe_missing_users():
                self._bar.line(text)
            return
        names = self._fields.left_out
        if names:
            self._bar.line(
                f"left out: {', '.join(names)}; to send one: --map NAME={self._fields.group}.NAME; "
                f"to send all: --map '*={self._fields.group}.*'"
            )
        if options := self._fields.addresses:
            self._bar.line(
                f"if the users have opted in to these addresses, add {' '.join(options)}"
            )

    def _print_summary(self, spent: float, first: int) -> None:
        text = "\n".join(self._describe(spent, first))
        try:
            print(text, flush=True)
        except OSError as error:
            if not is_closed_pipe(error):  # the exit code reports it too
                raise

    def _describe(self, spent: float, first: int) -> Iterator[str]:
        """Yield the lines of the summary."""
        progress, records = self._progress, None
        if isinstance(self._reader, EventReader):
            yield from self._reader.outcome.describe()
            records = format_count(self._reader.outcome.signals, "signal")
        if self._dry_run is None:
            records = records or format_count(progress.records, self._reader.noun)
            rate = (progress.delivered - first) / spent if spent else 0.0
            yield (
                f"delivered {progress.delivered:,} of {records} in {spent:.1f} s ({rate:,.0f}/s); "
                f"refused here {progress.refused:,}, by the server {progress.rejected:,}"
            )
        elif records is None:
            yield from self._dry_run.describe(progress, self._reader.noun)
        else:
            yield f"refused here {progress.refused:,}; nothing was sent"
            yield from self._dry_run.describe_first()


def _get_checkpoint(arguments: argparse.Namespace) -> Path | None:
    """Return the path of the checkpoint; None for standard input, unless one is given."""
    if arguments.checkpoint is not None or arguments.file == STDIN:
        path: Path | None = arguments.checkpoint
        return path
    file = Path(arguments.file)
    return file.with_name(f"{file.name}.checkpoint")


def _is_csv(arguments: argparse.Namespace) -> bool:
    if arguments.format is not None:
        return bool(arguments.format == "csv")
    name: str = arguments.file.lower()
    return name.removesuffix(".gz").endswith(".csv")
