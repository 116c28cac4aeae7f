"""Reads the kind, the user and the time of encoded events without decoding them. Pure.

`event` and `identify` write keys in a fixed order, and only this module relies on it. Invariant:
every searched key precedes the text that a caller may nest, and quotes within a JSON string are
escaped, so a search cannot match inside a caller's value.
"""

from __future__ import annotations

import time

from whisperr._contract import MAX_AGE_DAYS

# The first bytes of an encoded event and of an encoded identify. JSON leaves the order of keys
# free, so each kind begins with another key and is recognised by it.
EVENT_HEAD = b'{"event_type":"'
IDENTIFY_HEAD = b'{"external_user_id":'

_USER_NAME = b'"external_user_id":'
_USER_START = _USER_NAME + b'"'
_TIME_NAME = b',"occurred_at":"'
_TIME_BYTES = len("2026-06-14T12:00:00.000Z")
_IN_TYPES = frozenset(b"abcdefghijklmnopqrstuvwxyz0123456789_")


def is_identify(data: bytes) -> bool:
    """Return whether encoded bytes are an identify; all others are an event."""
    return data.startswith(IDENTIFY_HEAD)


def get_kind(data: bytes) -> str:
    """Return the type of an event, "identify", or "unreadable" for other bytes; never payload."""
    if is_identify(data):
        return "identify"
    head, _, rest = data.partition(EVENT_HEAD)
    name, end, _ = rest.partition(b'"')
    if head or not name or not end or not _IN_TYPES.issuperset(name):
        return "unreadable"
    return name.decode()


def split_at_user(data: bytes, user: str) -> tuple[bytes, bytes]:
    """Return the bytes of an event or identify before and after its user.

    The first match is the right one: only a head and an event type precede it, and an event type
    contains no quotation marks.
    """
    head, name, tail = data.partition(_USER_NAME)
    return head + name, tail[len(user) + 2 :]


def get_user(data: bytes) -> bytes:
    """Return the user of an event or identify as a JSON string; empty if there is none."""
    _, _, user = data.partition(_USER_START)
    # The same length without escaped quotes, so that the first quote ends the string.
    unescaped = user.replace(b"\\\\", b"--").replace(b'\\"', b"--")
    end = unescaped.find(b'"') + 1
    return b'"' + user[:end] if end else b""


def get_oldest_time(now: float) -> bytes:
    """Return the oldest `occurred_at` that the server accepts at `now` (wall clock, seconds)."""
    return time.strftime(
        "%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(now - MAX_AGE_DAYS * 86_400)
    ).encode()


def get_time(data: bytes) -> bytes | None:
    """Return the `occurred_at` of an event as written; None for an identify, which has no time."""
    at = -1 if is_identify(data) else data.find(_TIME_NAME)
    if at < 0:
        return None
    start = at + len(_TIME_NAME)
    return data[start : start + _TIME_BYTES]


def is_expired(data: bytes, oldest: bytes) -> bool:
    """Return whether an event happened before `oldest`; an identify never expires."""
    at = get_time(data)
    return at is not None and at < oldest
