"""Beside step 3: what a durable buffer must know of an encoded event: its user, and its age.

Pure. The bytes are those of `_event` and `_identify`, whose order of keys is fixed: what is looked
for stands before anything that a caller may nest. Inside of a JSON string every quote is escaped,
so that the patterns cannot match there.
"""

from __future__ import annotations

import time

from .clock import MAX_AGE_DAYS

# What an encoded event and an encoded identify begin with. Both are JSON objects whose order of
# keys is ours to choose; choosing different first keys lets bytes alone say what they are.
EVENT_HEAD = b'{"event_type":"'
IDENTIFY_HEAD = b'{"external_user_id":'

_USER_KEY = b'"external_user_id":"'
_STAMP_KEY = b',"occurred_at":"'
_STAMP_BYTES = len("2026-06-14T12:00:00.000Z")


def is_identify(data: bytes) -> bool:
    """Say whether encoded bytes are an identify; everything else is an event."""
    return data.startswith(IDENTIFY_HEAD)


def split_at_user(data: bytes, user: str) -> tuple[bytes, bytes]:
    """Return what stands before and after the user in an encoded event or identify.

    The first match is the right one: what comes before the user is a head and an event type,
    which has no quotation marks.
    """
    head, name, tail = data.partition(b'"external_user_id":')
    return head + name, tail[len(user) + 2 :]


def user_of(data: bytes) -> bytes:
    """Return the user of an event or identify, as its JSON string; the same for the same user."""
    start = data.find(_USER_KEY)
    if start < 0:
        return b""
    start += len(_USER_KEY) - 1
    end = data.find(b'"', start + 1)
    while end > 0 and _is_escaped(data, end):
        end = data.find(b'"', end + 1)
    return data[start : end + 1] if end > 0 else b""


def _is_escaped(data: bytes, at: int) -> bool:
    """Return whether an odd number of backslashes precedes the byte at `at`."""
    before = data[:at]
    return (len(before) - len(before.rstrip(b"\\"))) % 2 == 1


def get_oldest_stamp(now: float) -> bytes:
    """Return the oldest `occurred_at` that the server accepts at `now` (wall clock, seconds)."""
    return time.strftime(
        "%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(now - MAX_AGE_DAYS * 86_400)
    ).encode()


def is_expired(data: bytes, oldest: bytes) -> bool:
    """Say whether an event happened before `oldest`; an identify has no time and never expires."""
    at = -1 if is_identify(data) else data.find(_STAMP_KEY)
    if at < 0:
        return False
    start = at + len(_STAMP_KEY)
    return data[start : start + _STAMP_BYTES] < oldest
