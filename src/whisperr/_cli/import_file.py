"""`whisperr import`: send a file of past events, a bounded chunk at a time.

A chunk is at most 500 records or 4 MiB. It is tracked and flushed, and then the checkpoint is
saved: what was not delivered is read again, with the same ids. So memory is bounded by the chunk,
and the client's queue never overflows.

An import that is resumed reads its content from the beginning, and sends nothing until it has come
to the place of the checkpoint. So a file, a compressed one and standard input resume in one way.
"""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whisperr import InvalidEvent
from whisperr._contract import MAX_BATCH_EVENTS
from whisperr._foreign import printable

from .calls import send_object
from .command import (
    CommandError,
    Interrupted,
    Sender,
    UsageError,
    add_command,
    add_sending_options,
    format_count,
    join_words,
)
from .content import STDIN, open_content
from .dry_run import DryRun
from .hints import get_hint
from .mapping import FieldMap, ShapeError
from .progress import Progress, ProgressBar, is_checkpoint
from .reader import Reader

if TYPE_CHECKING:
    import argparse

    from .command import Parser
    from .content import Content
    from .records import Record

_MAX_REPORTS = 20  # refused records that are printed; further ones are only counted
_SHUTDOWN_TIMEOUT = 1.0  # seconds for the requests under way when it is interrupted
_EXAMPLES = """\
  whisperr import events.jsonl --dry-run
      check every line and show what would be sent; needs no key
  whisperr import events.jsonl
      send it: show progress, and refused lines with their number
  whisperr import events.jsonl --resume
      continue an interrupted import
  zcat events.jsonl.gz | whisperr import -
      from standard input; whisperr import events.jsonl.gz does the same
  whisperr import events.csv --map user_id=external_user_id --map event=event_type \\
      --map time=occurred_at --map amount=properties.amount:number
      rows with a header
  whisperr import users.csv --map id=external_user_id --map plan=traits.plan
      rows without an event are identifies
"""


def add_to(commands: argparse._SubParsersAction[Parser]) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "import",
        _run,
        "send past events from a file, with a checkpoint",
        "Send the events and identifies of a file: one JSON object on a line, a JSON array, or CSV "
        "with a header; compressed with gzip or not. Their shape is that of the "
        "wire: external_user_id, event_type, occurred_at (at most 30 days ago), "
        "properties, context, message_id; an identify has no event_type. An event without a "
        "message_id gets one from its content, so that a second import adds no duplicates; two "
        "lines with the same content are one event. The key is read from WHISPERR_API_KEY.",
        _EXAMPLES,
        usage="FILE",
    )
    parser.add_argument("file", metavar="FILE", nargs="?", help="- for standard input")
    parser.add_argument("--resume", action="store_true", help="continue from the checkpoint")
    parser.add_argument("--checkpoint", metavar="PATH", type=Path, help="else FILE.checkpoint")
    parser.add_argument(
        "--dry-run", action="store_true", help="check everything and send nothing; needs no key"
    )
    parser.add_argument(
        "--format",
        choices=("json", "csv"),
        help="else csv for a file.csv or file.csv.gz, json (lines or an array) for any other",
    )
    _add_mapping_options(parser)
    add_sending_options(parser)


def _add_mapping_options(parser: Parser) -> None:
    parser.add_argument(
        "--map",
        metavar="COLUMN=TARGET",
        action="append",
        default=[],
        help="what a column, or a key of JSON, becomes: external_user_id, event_type[:snake_case], "
        "occurred_at[:utc|:unix|:unix_ms], message_id, email, properties.NAME[:number|:boolean|"
        ":json], context.NAME, traits.NAME; '*=properties.*' for all others; nothing after the = "
        "leaves it out",
    )
    parser.add_argument(
        "--set",
        metavar="TARGET=VALUE",
        action="append",
        default=[],
        help="the same value for all: event_type=signed_up",
    )


def _run(arguments: argparse.Namespace) -> int:
    if arguments.file is None:
        arguments.parser.error(
            "which file? Give its path, or - for standard input: whisperr import events.jsonl"
        )
    fields = FieldMap(arguments.map, arguments.set)
    if arguments.file == STDIN:
        if arguments.resume and arguments.checkpoint is None:
            raise UsageError("--resume with standard input needs --checkpoint PATH as well")
        if sys.stdin is not None and sys.stdin.isatty():
            print("whisperr import: reading what you type; Ctrl-D ends it", file=sys.stderr)
    try:
        with open_content(arguments.file) as content:
            reader = Reader(content, fields, is_csv=_is_csv(arguments))
            return _Import(arguments, reader, fields).run(content)
    except ShapeError as error:
        text = f"{arguments.file}: {error}; write: {_join_command(arguments, *error.options)}"
        if error.instead:
            text += f"; or, if the rows are users: {_join_command(arguments, *error.instead)}"
        raise UsageError(text) from None
    except OSError as error:  # of the checkpoint, while importing
        raise CommandError(f"{error}; continue with: {_join_resume(arguments)}") from None


def _join_command(arguments: argparse.Namespace, *options: str) -> str:
    """Return the command that was called, with more options."""
    words = [word for option in options for word in option.split(" ", 1)]
    return join_words(arguments, *words)


def _join_resume(arguments: argparse.Namespace) -> str:
    """Return the command that continues this one."""
    return join_words(arguments, "--resume", without="--resume")


class _Import:
    """One run of an import."""

    def __init__(self, arguments: argparse.Namespace, reader: Reader, fields: FieldMap) -> None:
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
        # The client sends only when it is flushed, a chunk at a time.
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

    def run(self, content: Content) -> int:
        """Import to the end; return the exit code."""
        began, first = time.monotonic(), self._progress.delivered
        interrupted = False
        try:
            problem = self._send_chunks(content) or self._reader.problem
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
        return 1 if self._progress.refused or self._progress.rejected else 0

    def _send_chunks(self, content: Content) -> str | None:
        """Send chunk after chunk; return why it stopped, None at the end of the content."""
        client, start = self._sender.client, self._progress
        while chunk := self._reader.take_chunk():
            refused = sum(not self._send(record) for record in chunk)
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
            self._bar.show(self._progress, content.get_share())
        return None

    def _send(self, record: Record) -> bool:
        """Track one record; report what is wrong with it, and return False, if it is refused."""
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
            return False
        return True

    def _hint(self, record: Record, value: dict[str, Any] | None, error: str) -> None:
        """Report, once, the options that would make something of a record that was refused."""
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
            return f"{text}; import the same again: what was delivered is not duplicated"
        return f"{text}; continue with: {_join_resume(self._arguments)}"

    def _report_left_out(self) -> None:
        names = self._fields.left_out
        if names:
            self._bar.line(
                f"left out: {', '.join(names)}; to send one: --map NAME={self._fields.group}.NAME; "
                f"all of them: --map '*={self._fields.group}.*'"
            )
        if options := self._fields.addresses:
            self._bar.line(
                f"an address that the users have opted in to is a channel: {' '.join(options)}"
            )

    def _print_summary(self, spent: float, first: int) -> None:
        progress, noun = self._progress, self._reader.noun
        if self._dry_run is not None:
            text = "\n".join(self._dry_run.describe(progress, noun))
        else:
            rate = (progress.delivered - first) / spent if spent else 0.0
            records = format_count(progress.records, noun)
            text = (
                f"delivered {progress.delivered:,} of {records} in {spent:.1f} s ({rate:,.0f}/s); "
                f"refused here {progress.refused:,}, by the server {progress.rejected:,}"
            )
        with suppress(BrokenPipeError):  # the exit code says it too
            print(text, flush=True)


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
