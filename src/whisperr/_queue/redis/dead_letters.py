"""The dead letters of the Redis store: a stream beside each stream of events.

Invariant: one script removes an event from its stream and adds the dead letter; one script deletes
the dead letter and adds the event again. If a dead letter cannot be added, because the server is
full or the key holds another type, the event is removed all the same.

The server assigns each dead letter an id, which has the time of the refusal. `total` is a running
sum of bytes that includes deleted entries, so an entry that was deleted between the oldest and the
newest counts against the bound until the oldest is deleted too.
"""

from __future__ import annotations

import re
from heapq import merge
from time import monotonic
from typing import TYPE_CHECKING

from whisperr._foreign import printable
from whisperr._queue.dead_letters import (
    KEPT,
    KEPT_FOR_OLDEST,
    LONGEST_AGE,
    MOST,
    MOST_BYTES,
    NOT_KEPT,
    SOURCE,
    DeadLetter,
    Moved,
    explain,
)
from whisperr._queue.memory import EVENT_OVERHEAD_BYTES

from .keys import get_keys
from .lua import STATE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from whisperr.errors import Loss

    from .connection import Connection

# For the scripts that remove events. They call `keep` before their first other write, so that a
# full server refuses only the dead letter. It returns 0 if the events were not kept, 1 if they
# were, and 2 if the oldest dead letters were deleted to make room.
KEEPING = """
local dead = KEYS[8]
local function get_total(entry)
  return entry and entry[2][1] == 'total' and tonumber(entry[2][2]) or 0
end
local function keep(ids, bounds, reason, message, status)
  local most, most_bytes, most_age = string.match(bounds, '^(%d+) (%d+) (%d+)$')
  local newest = redis.pcall('XREVRANGE', dead, '+', '-', 'COUNT', 1)
  if not most or #ids == 0 or newest.err then return 0 end
  local total, rows = get_total(newest[1]), 0
  for _, id in ipairs(ids) do
    local entry, source, data = redis.call('XRANGE', stream, id, id)[1], nil, nil
    if entry then source, data = read(entry) end
    if source then
      total = total + #data + overhead
      local added = redis.pcall('XADD', dead, '*', 'total', string.format('%.0f', total),
        'reason', reason, 'status', status, 'message', message, 'data', data)
      if type(added) == 'table' then return 0 end
    end
  end
  local deleted = redis.call('XTRIM', dead, 'MAXLEN', most)
  while true do
    local some = redis.call('XRANGE', dead, '-', '+', 'COUNT', 2)
    if #some < 2 then break end
    local fields, size = some[1][2], overhead
    size = size + #fields[#fields]
    if total - get_total(some[1]) + size <= tonumber(most_bytes) then break end
    deleted = deleted + redis.call('XDEL', dead, some[1][1])
  end
  local now = redis.call('TIME')
  redis.call('XTRIM', dead, 'MINID', string.format('%.0f', (now[1] - most_age) * 1000))
  redis.call('EXPIRE', dead, most_age)
  return deleted > 0 and 2 or 1
end
"""

# ARGV: seconds. Deletes older dead letters.
_PRUNE = """
if redis.call('TYPE', KEYS[8]).ok ~= 'stream' then return 0 end
local now = redis.call('TIME')
return redis.call('XTRIM', KEYS[8], 'MINID', string.format('%.0f', (now[1] - ARGV[1]) * 1000))
"""
# ARGV: the id to begin with, downwards, and how many. Returns entries.
_READ = "return redis.call('XREVRANGE', KEYS[8], ARGV[1], '-', 'COUNT', ARGV[2])"
# ARGV: ids. Returns entries.
_FIND = """
local found = {}
for _, id in ipairs(ARGV) do found[#found + 1] = redis.call('XRANGE', KEYS[8], id, id)[1] end
return found
"""
# ARGV: ids. Returns how many existed.
_DROP = "return redis.call('XDEL', KEYS[8], unpack(ARGV))"
# ARGV: ids, in the order in which to add them. Returns how many were added, and how many exceeded
# the bounds. A full server refuses the script before anything has changed.
_REPLAY = (
    STATE
    + """
local dead = KEYS[8]
local replayed, left = 0, 0
for at = 5, #ARGV do
  local entry = redis.call('XRANGE', dead, ARGV[at], ARGV[at])[1]
  local fields = entry and entry[2] or {}
  local data = fields[#fields - 1] == 'data' and fields[#fields]
  if data and (left > 0 or s.rows >= max_rows or s.bytes + #data + overhead > max_bytes) then
    left = left + 1
  elseif data then
    s.newest = redis.call('XADD', stream, '*', me .. ':' .. replayed, data)
    has_begun = true
    s.rows, s.bytes, replayed = s.rows + 1, s.bytes + #data + overhead, replayed + 1
    redis.call('XDEL', dead, ARGV[at])
  end
end
return done({replayed, left})
"""
)
_PRUNE_INTERVAL = 3_600.0  # seconds
_LONGEST_MESSAGE = 700
_STATUS_DIGITS = 3
_READ_AT_ONCE = 100
_MOVED_AT_ONCE = 200  # in one script, during which the server does nothing else
_ID = re.compile(r"([0-9]{1,18}-[0-9]{1,18})(?:@([0-9]{1,2}))?")


class DeadLetterStreams:
    """The arguments of the scripts that keep dead letters, and their results.

    `kept`: as in `Store`. Dead letters are kept only if `wanted`.
    """

    def __init__(self, streams: int, *, wanted: bool) -> None:
        # The bounds are shared out among the streams.
        bounds = f"{-(-MOST // streams)} {-(-MOST_BYTES // streams)} {LONGEST_AGE:.0f}"
        self._bounds = bounds if wanted else ""
        self._prune_at = 0.0
        self.kept: str | None = NOT_KEPT if wanted else None

    def describe(self, loss: Loss | None, events: int) -> tuple[str, str, object, str]:
        """Return the reason, the message and the status of a loss, and the bounds."""
        if loss is None:
            return "", "", "", ""
        message = printable(explain(loss, events), _LONGEST_MESSAGE)
        return loss.reason, message, "" if loss.status is None else loss.status, self._bounds

    def note(self, loss: Loss | None, kept: int) -> None:
        """Note what a script returned about the lost events."""
        if loss is not None and self._bounds:
            self.kept = (NOT_KEPT, KEPT, KEPT_FOR_OLDEST)[kept]

    def prune(self, connection: Connection, streams: Sequence[Sequence[str]]) -> None:
        """Delete expired dead letters of the streams with these keys, once an hour."""
        now = monotonic()
        if not self._bounds or now < self._prune_at:
            return
        for keys in streams:
            connection.run(_PRUNE, keys, (int(LONGEST_AGE),))
        self._prune_at = now + _PRUNE_INTERVAL


class RedisDeadLetters:
    """The dead letters of some streams. `DeadLetters` explains the methods."""

    def __init__(self, connection: Connection, names: Sequence[str]) -> None:
        self._connection = connection
        self._keys = [get_keys(name, SOURCE) for name in names]

    def read(self) -> Iterator[DeadLetter]:
        """Yield the dead letters of all streams, newest first."""
        every = (self._read(number) for number in range(len(self._keys)))
        return merge(*every, key=_get_order, reverse=True)

    def find(self, ids: Sequence[str]) -> Sequence[DeadLetter]:
        found: dict[str, DeadLetter] = {}
        for number, some in self._split(ids):
            entries = self._connection.run(_FIND, self._keys[number], some)
            found |= {one.id: one for one in (self._to_dead_letter(number, *e) for e in entries)}
        return [found[one] for one in dict.fromkeys(ids) if one in found]

    def replay(self, ids: Sequence[str], max_events: int, max_bytes: int) -> Moved:
        """Move these to the end of their streams, as far as they fit into each stream's bounds."""
        replayed = left = 0
        streams = len(self._keys)
        bounds = -(-max_events // streams), -(-max_bytes // streams)
        for number, some in self._split(ids):
            values = (SOURCE, EVENT_OVERHEAD_BYTES, *bounds, *some)
            moved, _ = self._connection.run(_REPLAY, self._keys[number], values)
            replayed, left = replayed + moved[0], left + moved[1]
        return Moved(replayed, left)

    def drop(self, ids: Sequence[str]) -> int:
        return sum(
            self._connection.run(_DROP, self._keys[number], some)
            for number, some in self._split(ids)
        )

    def close(self) -> None:
        self._connection.close()

    def _read(self, number: int) -> Iterator[DeadLetter]:
        start = "+"
        while entries := self._connection.run(_READ, self._keys[number], (start, _READ_AT_ONCE)):
            for id_, fields in entries:
                yield self._to_dead_letter(number, id_, fields)
            start = f"({entries[-1][0].decode()}"

    def _split(self, ids: Sequence[str]) -> Iterator[tuple[int, Sequence[str]]]:
        """Yield a stream's number with ids of dead letters in it, a bounded number at a time."""
        shares: dict[int, list[str]] = {}
        for one in dict.fromkeys(ids):
            match = _ID.fullmatch(one)
            number = int(match[2] or 0) if match else -1
            if match and number < len(self._keys) and (match[2] is None) == (len(self._keys) == 1):
                shares.setdefault(number, []).append(match[1])
        for number, share in shares.items():
            for at in range(0, len(share), _MOVED_AT_ONCE):
                yield number, share[at : at + _MOVED_AT_ONCE]

    def _to_dead_letter(self, number: int, id_: bytes, fields: Sequence[bytes]) -> DeadLetter:
        """Return the dead letter in an entry, which any client may have added."""
        values = dict(zip(fields[::2], fields[1::2], strict=False))
        shown = id_.decode()
        milliseconds = int(shown.partition("-")[0])
        status = values.get(b"status", b"")
        return DeadLetter(
            shown if len(self._keys) == 1 else f"{shown}@{number}",
            milliseconds / 1_000,
            _to_text(values.get(b"reason")),
            int(status) if status.isdigit() and len(status) == _STATUS_DIGITS else None,
            _to_text(values.get(b"message")),
            values.get(b"data", b""),
        )


def _get_order(one: DeadLetter) -> tuple[int, int]:
    time, _, sequence = one.id.partition("@")[0].partition("-")
    return int(time), int(sequence)


def _to_text(value: bytes | None) -> str:
    return "" if value is None else value.decode(errors="replace")
