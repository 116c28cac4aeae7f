"""The dry run of an import: checks and encodes everything, and sends no request."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING

from whisperr._contract import EVENTS_PATH, Answer
from whisperr._foreign import printable

from .command import format_count

if TYPE_CHECKING:
    from collections.abc import Iterator

    from whisperr._contract import Request

    from .progress import Progress

_MAX_TYPES = 1_000  # event types that are counted separately
_MAX_SHOWN_TYPES = 10
_MAX_SHOWN_CHARS = 500
_OTHERS = "(others)"


class DryRun:
    """A transport that accepts every request and sends nothing; it keeps the first one."""

    def __init__(self) -> None:
        self._first = ""
        self._types: Counter[str] = Counter()
        self._identifies = 0

    def send(self, request: Request, timeout: float) -> Answer:  # noqa: ARG002  # of the protocol
        """Accept a request."""
        if not self._first:
            body = json.loads(request.body)
            first = body["events"][0] if request.path == EVENTS_PATH else body
            self._first = json.dumps(first, ensure_ascii=False)
        return Answer(202, {}, b"{}")

    def close(self) -> None:
        """Do nothing."""

    def count(self, event_type: str | None) -> None:
        """Count an event by its type; None for an identify."""
        if event_type is None:
            self._identifies += 1
            return
        known = event_type in self._types or len(self._types) < _MAX_TYPES
        self._types[event_type if known else _OTHERS] += 1

    def describe(self, progress: Progress, noun: str) -> Iterator[str]:
        """Yield lines that describe what the import would do."""
        events = sum(self._types.values())
        identifies = "1 identify" if self._identifies == 1 else f"{self._identifies:,} identifies"
        records = format_count(progress.records, noun)
        yield (
            f"would send {format_count(events, 'event')} and {identifies}, of {records}; "
            f"refused here {progress.refused:,}; nothing was sent"
        )
        common = self._types.most_common()
        for name, count in common[:_MAX_SHOWN_TYPES]:
            yield f"  {count:>9,}  {printable(name, _MAX_SHOWN_CHARS)}"
        if len(common) > _MAX_SHOWN_TYPES:
            yield f"  and {len(common) - _MAX_SHOWN_TYPES:,} more event types"
        yield from self.describe_first()

    def describe_first(self) -> Iterator[str]:
        """Yield a line with the first event or identify, if there is one."""
        if self._first:
            yield f"the first: {printable(self._first, _MAX_SHOWN_CHARS)}"
