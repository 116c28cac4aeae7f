"""Beside step 3: what a durable buffer must know of an encoded event: its user, and its age.

Pure. The bytes are those of `_event` and `_identify`, whose order of keys is fixed: what is looked
for stands before anything that a caller may nest. Inside of a JSON string every quote is escaped,
so that the patterns cannot match there.
"""

from __future__ import annotations

import re
import time

from ._stamp import MAX_AGE_DAYS
from ._wire import is_identify

_USER = re.compile(rb'"external_user_id":("(?:[^"\\]|\\.)*")')
_STAMP_KEY = b',"occurred_at":"'
_STAMP_BYTES = len("2026-06-14T12:00:00.000Z")


def user_of(data: bytes) -> bytes:
    """Return the user of an event or identify, as its JSON string; the same for the same user."""
    match = _USER.search(data)
    return match.group(1) if match else b""


def oldest_stamp(now: float) -> bytes:
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
