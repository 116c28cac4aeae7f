"""Reads encoded events without decoding them: kind, user, and age.

Pure. All knowledge of where things stand in the bytes of an event is here; `event` and `identify`
write them in this fixed order of keys. Invariant: what is searched for comes before any text that a
caller may nest, and every quote within a JSON string is escaped, so no search can match in there.
"""

from __future__ import annotations

import time

from whisperr._contract import MAX_AGE_DAYS

# The first bytes of an encoded event and of an encoded identify. Both are JSON objects whose order
# of keys is free; different first keys make the first bytes tell which of the two it is.
EVENT_HEAD = b'{"event_type":"'
IDENTIFY_HEAD = b'{"external_user_id":'

_USER_NAME = b'"external_user_id":'
_USER_START = _USER_NAME + b'"'
_TIME_NAME = b',"occurred_at":"'
_TIME_BYTES = len("2026-06-14T12:00:00.000Z")
_IN_TYPES = frozenset(b"abcdefghijklmnopqrstuvwxyz0123456789_")


def is_identify(data: bytes) -> bool:
    """Return whether encoded bytes are an identify; everything else is an event."""
    return data.startswith(IDENTIFY_HEAD)


def get_kind(data: bytes) -> str:
    """Return the type of an event, "identify", or "unreadable" for other bytes; no payload."""
    if is_identify(data):
        return "identify"
    head, _, rest = data.partition(EVENT_HEAD)
    name, end, _ = rest.partition(b'"')
    if head or not name or not end or not _IN_TYPES.issuperset(name):
        return "unreadable"
    return name.decode()


def split_at_user(data: bytes, user: str) -> tuple[bytes, bytes]:
    """Return the parts of an encoded event or identify before and after its user.

    The first match is the right one: only a head and an event type come before it, and an event
    type has no quotation marks.
    """
    head, name, tail = data.partition(_USER_NAME)
    return head + name, tail[len(user) + 2 :]


def get_user(data: bytes) -> bytes:
    """Return the user of an event or identify as a JSON string; empty when there is none."""
    _, _, user = data.partition(_USER_START)
    # Of the same length, but without escaped quotes: the first quote ends the string.
    unescaped = user.replace(b"\\\\", b"--").replace(b'\\"', b"--")
    end = unescaped.find(b'"') + 1
    return b'"' + user[:end] if end else b""


def get_oldest_time(now: float) -> bytes:
    """Return the oldest `occurred_at` that the server accepts at `now` (wall clock, seconds)."""
    return time.strftime(
        "%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(now - MAX_AGE_DAYS * 86_400)
    ).encode()


def get_time(data: bytes) -> bytes | None:
    """Return when an event happened, as it is written; None for an identify, which has no time."""
    at = -1 if is_identify(data) else data.find(_TIME_NAME)
    if at < 0:
        return None
    start = at + len(_TIME_NAME)
    return data[start : start + _TIME_BYTES]


def is_expired(data: bytes, oldest: bytes) -> bool:
    """Return whether an event happened before `oldest`; an identify has no time, never expires."""
    at = get_time(data)
    return at is not None and at < oldest
