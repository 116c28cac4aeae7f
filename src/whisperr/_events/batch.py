"""A batch of encoded events, and the request that it becomes. Pure."""

from __future__ import annotations

from whisperr._contract import EVENTS_PATH, IDENTIFY_PATH, MAX_BATCH_BYTES, Request

from .layout import IDENTIFY_HEAD, is_identify

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_FRAME = b'{"events":[]}'
_FRAME_BYTES = len(_FRAME)


class BatchBuilder:
    """A batch while it is filled: a run of events, or one identify, which goes alone (CONTRACT).

    At most `max_events` and MAX_BATCH_BYTES, but at least one: an event that is larger than
    that by itself is for the server to judge.
    """

    __slots__ = ("_alone", "_bytes", "_max_events", "events")

    def __init__(self, max_events: int) -> None:
        self.events: list[bytes] = []
        self._max_events = max_events
        self._bytes = _FRAME_BYTES
        self._alone = False

    def add(self, data: bytes) -> bool:
        """Add the next event in line; False, and nothing added, when it must wait."""
        size = self._bytes + len(data) + 1
        if not self.events:
            self._alone = is_identify(data)
        elif (
            self._alone
            or len(self.events) >= self._max_events
            or size > MAX_BATCH_BYTES
            or data.startswith(IDENTIFY_HEAD)  # `is_identify`, without a call for every event
        ):
            return False
        self.events.append(data)
        self._bytes = size
        return True


def take_batch(events: list[bytes]) -> list[bytes]:
    """Return the first of `events` that one request takes: nearly always all of them.

    That is seen without looking at each: what sorts before IDENTIFY_HEAD does not begin with it.
    """
    size = _FRAME_BYTES + sum(map(len, events)) + len(events)
    if size <= MAX_BATCH_BYTES and max(events, default=b"") < IDENTIFY_HEAD:
        return events
    run = BatchBuilder(len(events))
    for data in events:
        if not run.add(data):
            break
    return run.events


def to_request(batch: Sequence[bytes]) -> Request:
    """Return the request for a run of events or for one identify; bytes are joined, not remade."""
    if not batch:
        return Request(EVENTS_PATH, _FRAME)
    if is_identify(batch[0]):
        return Request(IDENTIFY_PATH, batch[0])
    # The frame joins the first and the last event, so that the whole is copied once and not thrice.
    first, last = _FRAME[:-2], _FRAME[-2:]
    events = [first + batch[0], *batch[1:]]
    events[-1] += last
    return Request(EVENTS_PATH, b",".join(events))


def empty_request() -> Request:
    """Return a request without events: the server refuses it and stores nothing (CONTRACT: 400)."""
    return to_request(())
