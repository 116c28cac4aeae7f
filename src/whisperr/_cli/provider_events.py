"""The events of a billing provider for `whisperr import --from`: what each means, oldest first.

What an event means may depend on those before it, and exports begin with the newest. So all events
are read before the first is sent. Each is kept compressed, about 1 KiB, and decoded again when its
turn comes. The states of the subscriptions are in memory, and belong to this run: a resumed import
makes them again from the events that were sent before.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import zlib
from collections import Counter
from datetime import datetime, timezone
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple

from whisperr import InvalidEvent
from whisperr._contract import MAX_BATCH_EVENTS
from whisperr._foreign import printable
from whisperr.billing._collector import NO_USER
from whisperr.billing._fields import Fields

from .command import CommandError, UsageError, format_count, suggest
from .content import ContentError, translate_errors
from .documents import read_documents
from .records import Record
from .user_map import read_user_map

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from whisperr import Whisperr
    from whisperr.billing import Signal, Signals, State

    from .content import Content
    from .progress import Progress

_OLDEST = datetime.min.replace(tzinfo=timezone.utc)
_REPEATED = "the file has the same event more than once"
_MAX_REASONS = 1_000  # that are counted separately
_MAX_SHOWN = 10
_MAX_SHOWN_CHARS = 300
_OTHERS = "(others)"


# The providers, with where their payloads may have the user, for a hint; "" if nowhere.
PROVIDERS = {"stripe": "metadata", "paddle": "custom_data", "revenuecat": ""}
_IMPOSSIBLE = {
    "app_store": "the notifications of the App Store are signed: verify each with Apple's package, "
    "and send what whisperr.billing.app_store makes of it",
    "google_play": "a notification of Google Play has only a token, and the purchase must be "
    "fetched for each: send what whisperr.billing.google_play makes of both",
}


def check_options(arguments: argparse.Namespace) -> None:
    """Raise UsageError for a --from that cannot be, and for options that do not fit it."""
    name = arguments.provider
    if name is None:
        _check_without_provider(arguments)
        return
    if name in _IMPOSSIBLE:
        raise UsageError(f"--from {name}: {_IMPOSSIBLE[name]}")
    if name not in PROVIDERS:
        near = suggest(name, [*PROVIDERS, *_IMPOSSIBLE])
        known = ", ".join(PROVIDERS)
        shown = printable(name, _MAX_SHOWN_CHARS)
        raise UsageError(f"--from {shown}: unknown provider{near}; the providers are {known}")
    for option in ("map", "set", "format"):
        if getattr(arguments, option):
            raise UsageError(
                f"--{option} does not fit --from: the events of {name} have one shape; leave out "
                f"--{option}"
            )
    if arguments.user_key is not None and not PROVIDERS[name]:
        raise UsageError(f"--user-key does not fit --from {name}: its events have no metadata")


def _check_without_provider(arguments: argparse.Namespace) -> None:
    for option in ("user_map", "user_key"):
        if getattr(arguments, option) is not None:
            name = option.replace("_", "-")
            raise UsageError(f"--{name} needs --from and a provider: {', '.join(PROVIDERS)}")


class _Event(NamedTuple):
    """One event: when it happened, its id, and its compressed JSON; or why it is not one."""

    at: datetime
    id: str
    data: bytes
    problem: str | None = None


class EventReader:
    """The events of a provider in the order of time, with the interface of `Reader`.

    The options have been checked. Raises CommandError, before anything is sent, if the content
    cannot be read to its end.
    """

    unit = noun = "event"
    problem: str | None = None

    def __init__(self, content: Content, arguments: argparse.Namespace) -> None:
        module = importlib.import_module(f"whisperr.billing.{arguments.provider}")
        self._to_signals: Callable[..., Signals] = module.signals
        self._get_origin: Callable[[Fields], tuple[str | None, datetime | None]] = module.get_origin
        users = {} if arguments.user_map is None else read_user_map(arguments.user_map)
        self._options: dict[str, Any] = {"user_of": users.get}
        if arguments.user_key is not None:
            self._options["user_key"] = arguments.user_key
        self._states: dict[str, State] = {}
        self._digest = hashlib.sha256()
        self._next = 0
        self.outcome = Outcome(arguments.provider)
        try:
            with translate_errors():
                self._events = self._read(content)
        except ContentError as error:
            raise CommandError(
                f"{arguments.file}: {error}; nothing was sent: the events before it may decide "
                "what the others mean"
            ) from None

    def _read(self, content: Content) -> list[_Event]:
        """Return all events, oldest first.

        Of events with the same time, those that come later in the file are older if the file
        begins with the newest.
        """
        found: list[_Event] = []
        for document in read_documents(content.stream):
            if document.problem is not None:
                found.append(_Event(_OLDEST, "", b"", document.problem))
            found.extend(self._pack(value, document.line) for value in _flatten(document.value))
        times = [event.at for event in found if event.at != _OLDEST]
        if times and times[0] > times[-1]:
            found.reverse()
        found.sort(key=attrgetter("at"))
        return list(self._drop_repeated(found))

    def _drop_repeated(self, found: list[_Event]) -> Iterator[_Event]:
        """Yield each event once: the pages of an export may overlap."""
        ids: set[str] = set()
        for event in found:
            if event.id and event.id in ids:
                self.outcome.skip(_REPEATED)
            else:
                yield event
            ids.add(event.id)

    def _pack(self, value: object, line: int) -> _Event:
        if not isinstance(value, dict):
            kind = type(value).__name__
            return _Event(_OLDEST, "", b"", f"line {line}: must be a JSON object, got {kind}")
        event_id, at = self._get_origin(Fields(value))
        text = json.dumps(value, separators=(",", ":"))
        data = zlib.compress(text.encode(), level=1)
        return _Event(at or _OLDEST, event_id or "", data)

    @property
    def digest(self) -> str:
        """A hash of the ids so far: a later export has the same events and newer ones."""
        return self._digest.hexdigest()

    def get_share(self) -> float | None:
        """Return the share sent so far, from 0 to 1."""
        return self._next / len(self._events) if self._events else 1.0

    def skip(self, progress: Progress, checkpoint: Path) -> None:
        """Decide what the sent events mean once more, for the states after them.

        Raises UsageError if they are not those of the checkpoint.
        """
        if progress.line == 0:
            return
        for record in self._take(progress.line):
            if record.problem is None:
                self.get_signals(record)
        progress.check_digest(self.digest, checkpoint)

    def take_chunk(self) -> list[Record]:
        """Return the next chunk of events; an empty one at the end."""
        return self._take(MAX_BATCH_EVENTS)

    def _take(self, count: int) -> list[Record]:
        """Return the next events, numbered from 1 in the order of time."""
        first = self._next
        events = self._events[first : first + count]
        self._next += len(events)
        for event in events:
            self._digest.update(event.id.encode("utf-8", "backslashreplace") or event.data)
            self._digest.update(b"\n")
        return [Record(at, event.data, event.problem) for at, event in enumerate(events, first + 1)]

    def get_signals(self, record: Record) -> Signals:
        """Return what an event means after those before it."""
        payload = json.loads(zlib.decompress(record.data))
        found = self._to_signals(payload, previous=self._states.get, **self._options)
        if found.state is not None:
            self._states[found.state["key"]] = found.state
        self.outcome.count(found)
        return found

    def send(self, client: Whisperr, record: Record) -> Iterator[str]:
        """Track what an event means; yield what is refused, with the reason."""
        if record.problem is not None:
            yield record.problem
            return
        for signal in self.get_signals(record):
            problem = _track(client, signal)
            if problem is not None:
                yield f"{signal.message_id}: {problem}"


def _track(client: Whisperr, signal: Signal) -> str | None:
    """Track a signal; return why it is refused, or None."""
    try:
        client.track_signal(signal)
    except InvalidEvent as error:
        return str(error)
    return None


def _flatten(value: object) -> Iterator[object]:
    """Yield the events of a value: those of a page, of an array, or the value itself."""
    members = value.get("data") if isinstance(value, dict) else value
    if isinstance(members, list):
        for member in members:
            yield from _flatten(member)
    elif value is not None:
        yield value


class Outcome:
    """What the events became: signals by their type, and the reasons of what was skipped."""

    def __init__(self, provider: str) -> None:
        self._provider = provider
        self._events = 0
        self._types: Counter[str] = Counter()
        self._reasons: Counter[str] = Counter()
        self.without_user = 0

    def count(self, found: Signals) -> None:
        """Count what one event became."""
        self._events += 1
        self._types.update(signal.event_type for signal in found)
        for skipped in found.skipped:
            reason, no_user, fields = skipped.reason.partition(NO_USER)
            if no_user:
                self.without_user += 1
                reason += f"{no_user}{fields.partition(', and ')[0]}"
            elif skipped.event_type and skipped.event_type not in reason:
                reason = f"{skipped.event_type}: {reason}"
            self.skip(reason)

    def skip(self, reason: str) -> None:
        """Count one meaning, or one event, that became no signal."""
        known = reason in self._reasons or len(self._reasons) < _MAX_REASONS
        self._reasons[reason if known else _OTHERS] += 1

    @property
    def signals(self) -> int:
        """How many signals the events became."""
        return sum(self._types.values())

    def describe(self) -> Iterator[str]:
        """Yield lines: the signals by type, then the reasons, most frequent first."""
        signals, skipped = self.signals, sum(self._reasons.values())
        events = format_count(self._events, "event")
        yield f"{events} became {format_count(signals, 'signal')}{':' if signals else ''}"
        yield from _list(self._types, len(self._types), "")
        if skipped:
            yield f"skipped {skipped:,}:"
            yield from _list(self._reasons, _MAX_SHOWN, "more reasons")

    def describe_missing_users(self) -> str:
        """Return what to do about signals without a user; "" if there are none."""
        if not self.without_user:
            return ""
        hint = "add --user-map FILE, which has your id of the user for each customer"
        if metadata := PROVIDERS[self._provider]:
            hint += f", or --user-key KEY if another key of {metadata} has it"
        return f"{format_count(self.without_user, 'signal')} without a user: {hint}"


def _list(counts: Counter[str], most: int, noun: str) -> Iterator[str]:
    common = counts.most_common()
    for name, count in common[:most]:
        yield f"  {count:>9,}  {printable(name, _MAX_SHOWN_CHARS)}"
    if len(common) > most:
        yield f"  and {len(common) - most:,} {noun}"
