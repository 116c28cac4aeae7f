"""Groups encoded events into batches and builds the requests that carry them. Pure."""

from __future__ import annotations

from whisperr._contract import EVENTS_PATH, IDENTIFY_PATH, MAX_BATCH_BYTES, Request

from .layout import IDENTIFY_HEAD, is_identify

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_FRAME = b'{"events":[]}'
_FRAME_BYTES = len(_FRAME)


class BatchBuilder:
    """Builds one batch: consecutive events, or one identify (CONTRACT: it has its own path).

    A batch holds at most `max_events` events and MAX_BATCH_BYTES. It always accepts its first
    event: one that exceeds the byte limit is sent by itself, and the server decides.
    """

    __slots__ = ("_bytes", "_has_identify", "_max_events", "events")

    def __init__(self, max_events: int) -> None:
        self.events: list[bytes] = []
        self._max_events = max_events
        self._bytes = _FRAME_BYTES
        self._has_identify = False

    def add(self, data: bytes) -> bool:
        """Add the next event of the queue; return False and add nothing if it does not fit."""
        size = self._bytes + len(data) + 1
        if not self.events:
            self._has_identify = is_identify(data)
        elif (
            self._has_identify
            or len(self.events) >= self._max_events
            or size > MAX_BATCH_BYTES
            or data.startswith(IDENTIFY_HEAD)  # `is_identify`, without a call per event
        ):
            return False
        self.events.append(data)
        self._bytes = size
        return True


def take_batch(events: list[bytes]) -> list[bytes]:
    """Return the longest prefix of `events` that fits into one request, usually all of them.

    The usual case needs no loop: if even the greatest event sorts before IDENTIFY_HEAD, none of
    them is an identify.
    """
    size = _FRAME_BYTES + sum(map(len, events)) + len(events)
    if size <= MAX_BATCH_BYTES and max(events, default=b"") < IDENTIFY_HEAD:
        return events
    batch = BatchBuilder(len(events))
    for data in events:
        if not batch.add(data):
            break
    return batch.events


def to_request(batch: Sequence[bytes]) -> Request:
    """Return the request for a batch of events or for one identify, without encoding again.

    `whisperr doctor` sends an empty batch: the server answers 400 and stores nothing (CONTRACT).
    """
    if not batch:
        return Request(EVENTS_PATH, _FRAME)
    if is_identify(batch[0]):
        return Request(IDENTIFY_PATH, batch[0])
    # Adding the frame to the first and the last event before joining copies the body once, not
    # three times.
    first, last = _FRAME[:-2], _FRAME[-2:]
    events = [first + batch[0], *batch[1:]]
    events[-1] += last
    return Request(EVENTS_PATH, b",".join(events))
