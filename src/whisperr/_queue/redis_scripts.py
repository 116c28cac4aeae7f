"""The Lua scripts that the Redis server runs, each as one step.

Invariant: a change to a stream, to the sums beside it (`state`) and to its lease is one script.
Three keys belong to a stream: itself, `:state`, `:lease`. The lease is a key with the token of its
holder that expires; `owner` in the state is the token of the last claim and does not expire. So a
process whose lease ran out still owns its batch until another process claims it. `taken_to`,
`taken_rows` and `taken_bytes` in the state say what is claimed.

Redis 6.2 and later.
"""

from __future__ import annotations

# The outcomes of events are counted for each other process, and forgotten after a week.
_ENDED = """
local function ended(me, prefix, source, outcome)
  if source ~= me then
    redis.call('HINCRBY', prefix .. source, outcome, 1)
    redis.call('EXPIRE', prefix .. source, 604800)
  end
end
"""
_SUMS = """
local function sums(stream, state)
  local known = redis.call('HMGET', state, 'bytes', 'owner', 'taken_rows', 'taken_bytes')
  return {redis.call('XLEN', stream), known[1] or '0', known[2] or '', known[3] or '0',
    known[4] or '0'}
end
"""
_FREE = """
local function free(state, lease)
  redis.call('HDEL', state, 'owner', 'taken_to', 'taken_rows', 'taken_bytes')
  redis.call('DEL', lease)
end
"""
_TRIM = """
local function trim(stream, state, me, prefix, overhead, max_rows, max_bytes)
  local dropped = {}
  while true do
    local known = redis.call('HMGET', state, 'bytes', 'taken_to', 'taken_rows', 'taken_bytes')
    local rows = redis.call('XLEN', stream) - (known[3] or 0)
    local bytes = (known[1] or 0) - (known[4] or 0)
    if rows <= max_rows and bytes <= max_bytes then return dropped end
    local from = known[2] and ('(' .. known[2]) or '-'
    local over = redis.call('XRANGE', stream, from, '+', 'COUNT', 1)[1]
    if not over then return dropped end
    redis.call('XDEL', stream, over[1])
    redis.call('HINCRBY', state, 'bytes', -(#over[2][6] + overhead))
    ended(me, prefix, over[2][2], 'queue_full')
    dropped[#dropped + 1] = over[2][2]
    dropped[#dropped + 1] = over[2][6]
  end
end
"""

# KEYS: stream, state, the number that this source stored last. ARGV: source, prefix of endings,
# overhead, most events, most bytes, then number and data of each event. An event that an earlier
# attempt stored, whose answer was lost, is not stored twice.
APPEND = (
    _ENDED
    + _SUMS
    + _TRIM
    + """
local me, prefix, overhead = ARGV[1], ARGV[2], tonumber(ARGV[3])
local last = tonumber(redis.call('GET', KEYS[3]) or '-1')
local ids, bytes = {}, 0
for at = 6, #ARGV, 2 do
  local number, id = tonumber(ARGV[at]), nil
  if number > last then
    id = redis.call('XADD', KEYS[1], '*', 's', me, 'n', ARGV[at], 'd', ARGV[at + 1])
    bytes = bytes + #ARGV[at + 1] + overhead
    last = number
  else
    for _, entry in ipairs(redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1000)) do
      if entry[2][2] == me and entry[2][4] == ARGV[at] then id = entry[1] end
    end
  end
  ids[#ids + 1] = id or ''
end
redis.call('SET', KEYS[3], last, 'EX', 604800)
redis.call('HINCRBY', KEYS[2], 'bytes', bytes)
local dropped = trim(KEYS[1], KEYS[2], me, prefix, overhead, tonumber(ARGV[4]), tonumber(ARGV[5]))
return {ids, dropped, sums(KEYS[1], KEYS[2])}
"""
)

# KEYS: stream, state, lease. ARGV: source, milliseconds, most events, overhead. Returns for how
# many milliseconds the lease of another process lasts, and the oldest events, which no other
# process may claim or drop from now on.
CLAIM = """
local holder = redis.call('GET', KEYS[3])
if holder and holder ~= ARGV[1] then return {redis.call('PTTL', KEYS[3]), {}} end
local front = redis.call('HGET', KEYS[2], 'front_to')
local entries = {}
if front then entries = redis.call('XRANGE', KEYS[1], '-', front, 'COUNT', ARGV[3]) end
if #entries == 0 then
  redis.call('HDEL', KEYS[2], 'front_to')
  entries = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', ARGV[3])
end
if #entries == 0 then return {0, {}} end
redis.call('SET', KEYS[3], ARGV[1], 'PX', ARGV[2])
local bytes = 0
for _, entry in ipairs(entries) do bytes = bytes + #entry[2][6] + ARGV[4] end
redis.call('HSET', KEYS[2], 'owner', ARGV[1], 'taken_to', entries[#entries][1],
  'taken_rows', #entries, 'taken_bytes', bytes)
return {0, entries}
"""

# KEYS: stream, state, lease. ARGV: source, prefix of endings, the last id of the batch (or none),
# its rows, its bytes, then id, source and bytes of each event that is too old.
MARK = (
    _ENDED
    + _SUMS
    + _FREE
    + """
if redis.call('HGET', KEYS[2], 'owner') ~= ARGV[1] then return {0, sums(KEYS[1], KEYS[2])} end
for at = 6, #ARGV, 3 do
  if redis.call('XDEL', KEYS[1], ARGV[at]) == 1 then
    redis.call('HINCRBY', KEYS[2], 'bytes', -ARGV[at + 2])
    ended(ARGV[1], ARGV[2], ARGV[at + 1], 'expired')
  end
end
if ARGV[3] == '' then
  free(KEYS[2], KEYS[3])
else
  redis.call('HSET', KEYS[2], 'taken_to', ARGV[3], 'taken_rows', ARGV[4], 'taken_bytes', ARGV[5])
end
return {1, sums(KEYS[1], KEYS[2])}
"""
)

# KEYS: stream, state, lease. ARGV: source, milliseconds.
EXTEND = """
if redis.call('HGET', KEYS[2], 'owner') ~= ARGV[1] then return 0 end
if redis.call('PTTL', KEYS[3]) < tonumber(ARGV[2]) then
  redis.call('SET', KEYS[3], ARGV[1], 'PX', ARGV[2])
end
return 1
"""

# KEYS: stream, state, lease. ARGV: source, prefix of endings, whether it is the whole batch, then
# id, source, bytes and outcome of each event.
ACK = (
    _ENDED
    + _SUMS
    + _FREE
    + """
if redis.call('HGET', KEYS[2], 'owner') ~= ARGV[1] then return {0, sums(KEYS[1], KEYS[2])} end
local count = 0
for at = 4, #ARGV, 4 do
  if redis.call('XDEL', KEYS[1], ARGV[at]) == 1 then
    redis.call('HINCRBY', KEYS[2], 'bytes', -ARGV[at + 2])
    redis.call('HINCRBY', KEYS[2], 'taken_rows', -1)
    redis.call('HINCRBY', KEYS[2], 'taken_bytes', -ARGV[at + 2])
    ended(ARGV[1], ARGV[2], ARGV[at + 1], ARGV[at + 3])
  end
  count = count + 1
end
if ARGV[3] == '1' then free(KEYS[2], KEYS[3]) end
return {count, sums(KEYS[1], KEYS[2])}
"""
)

# KEYS: stream, state, lease. ARGV: source, prefix of endings, overhead, most events, most bytes,
# the last id of the batch.
RELEASE = (
    _ENDED
    + _SUMS
    + _FREE
    + _TRIM
    + """
if redis.call('HGET', KEYS[2], 'owner') == ARGV[1] then
  free(KEYS[2], KEYS[3])
  if ARGV[6] ~= '' then redis.call('HSETNX', KEYS[2], 'front_to', ARGV[6]) end
end
local dropped = trim(KEYS[1], KEYS[2], ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]),
  tonumber(ARGV[5]))
return {dropped, sums(KEYS[1], KEYS[2])}
"""
)

# KEYS: stream. ARGV: ids, oldest first. Returns how many at the front are gone.
GONE = """
for at, id in ipairs(ARGV) do
  if #redis.call('XRANGE', KEYS[1], id, id) > 0 then return at - 1 end
end
return #ARGV
"""

SUMS = _SUMS + "return sums(KEYS[1], KEYS[2])"
