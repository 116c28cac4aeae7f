"""The Lua scripts that the Redis server runs, each as one step.

Invariant: a change to a stream, to the sums beside it (`state`) and to its lease is one script.
The lease is a key with the token of its holder that expires; `owner` in the state is the token of
the last claim and does not expire. So a process whose lease ran out still owns its batch until
another process claims it. `taken_to`, `taken_rows` and `taken_bytes` in the state say what is
claimed.

Every script gets the same KEYS, the same first five of ARGV, then values of its own. It returns its
result and the sums of the stream. Redis 6.2 and later.
"""

from __future__ import annotations

# `last`: the number of the event that this source stored last. Outcomes are counted for each other
# process, and forgotten after a week.
_COMMON = """
local stream, state, lease, last = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local me, endings = ARGV[1], ARGV[2]
local overhead, max_rows, max_bytes = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])

local function sums()
  local known = redis.call('HMGET', state, 'bytes', 'owner', 'taken_rows', 'taken_bytes')
  return {redis.call('XLEN', stream), known[1] or '0', known[2] or '', known[3] or '0',
    known[4] or '0'}
end
local function is_owner()
  return redis.call('HGET', state, 'owner') == me
end
local function free()
  redis.call('HDEL', state, 'owner', 'taken_to', 'taken_rows', 'taken_bytes')
  redis.call('DEL', lease)
end
local function remove(id, source, bytes, outcome)
  if redis.call('XDEL', stream, id) == 0 then return false end
  redis.call('HINCRBY', state, 'bytes', -bytes)
  if source ~= me then
    redis.call('HINCRBY', endings .. source, outcome, 1)
    redis.call('EXPIRE', endings .. source, 604800)
  end
  return true
end
local function trim()
  local dropped = {}
  while true do
    local known = redis.call('HMGET', state, 'bytes', 'taken_to', 'taken_rows', 'taken_bytes')
    local rows = redis.call('XLEN', stream) - (known[3] or 0)
    local bytes = (known[1] or 0) - (known[4] or 0)
    if rows <= max_rows and bytes <= max_bytes then return dropped end
    local from = known[2] and ('(' .. known[2]) or '-'
    local over = redis.call('XRANGE', stream, from, '+', 'COUNT', 1)[1]
    if not over then return dropped end
    remove(over[1], over[2][2], #over[2][6] + overhead, 'queue_full')
    dropped[#dropped + 1] = {over[1], over[2][2], over[2][6]}
  end
end
"""


def _add_common(body: str) -> str:
    return _COMMON + body


SUMS = _add_common("return {0, sums()}")

# ARGV: number and data of each event. An event that an earlier attempt stored, whose answer was
# lost, is not stored twice. Returns the ids, and id, source and data of what was dropped.
APPEND = _add_common("""
local newest = tonumber(redis.call('GET', last) or '-1')
local ids, bytes = {}, 0
for at = 6, #ARGV, 2 do
  local number, id = tonumber(ARGV[at]), nil
  if number > newest then
    id = redis.call('XADD', stream, '*', 's', me, 'n', ARGV[at], 'd', ARGV[at + 1])
    bytes = bytes + #ARGV[at + 1] + overhead
    newest = number
  else
    for _, entry in ipairs(redis.call('XREVRANGE', stream, '+', '-', 'COUNT', 1000)) do
      if entry[2][2] == me and entry[2][4] == ARGV[at] then id = entry[1] end
    end
  end
  ids[#ids + 1] = id or ''
end
redis.call('SET', last, newest, 'EX', 604800)
redis.call('HINCRBY', state, 'bytes', bytes)
return {{ids, trim()}, sums()}
""")

# ARGV: milliseconds, most events. Returns for how many milliseconds the lease of another process
# lasts, and the oldest events, which no other process may claim or drop from now on.
CLAIM = _add_common("""
local holder = redis.call('GET', lease)
if holder and holder ~= me then return {{redis.call('PTTL', lease), {}}, sums()} end
local front = redis.call('HGET', state, 'front_to')
local entries = {}
if front then entries = redis.call('XRANGE', stream, '-', front, 'COUNT', ARGV[7]) end
if #entries == 0 then
  redis.call('HDEL', state, 'front_to')
  entries = redis.call('XRANGE', stream, '-', '+', 'COUNT', ARGV[7])
end
if #entries == 0 then return {{0, {}}, sums()} end
redis.call('SET', lease, me, 'PX', ARGV[6])
local bytes = 0
for _, entry in ipairs(entries) do bytes = bytes + #entry[2][6] + overhead end
redis.call('HSET', state, 'owner', me, 'taken_to', entries[#entries][1],
  'taken_rows', #entries, 'taken_bytes', bytes)
return {{0, entries}, sums()}
""")

# ARGV: the last id of the batch (or none), its rows, its bytes, then id, source and bytes of each
# event that is too old. Returns whether the claim was still owned.
MARK = _add_common("""
if not is_owner() then return {0, sums()} end
for at = 9, #ARGV, 3 do remove(ARGV[at], ARGV[at + 1], ARGV[at + 2], 'expired') end
if ARGV[6] == '' then
  free()
else
  redis.call('HSET', state, 'taken_to', ARGV[6], 'taken_rows', ARGV[7], 'taken_bytes', ARGV[8])
end
return {1, sums()}
""")

# ARGV: milliseconds. Returns whether the claim was still owned.
EXTEND = _add_common("""
if not is_owner() then return {0, sums()} end
if redis.call('PTTL', lease) < tonumber(ARGV[6]) then
  redis.call('SET', lease, me, 'PX', ARGV[6])
end
return {1, sums()}
""")

# ARGV: whether it is the whole batch, then id, source, bytes and outcome of each event. Returns how
# many of them were still owned.
ACK = _add_common("""
if not is_owner() then return {0, sums()} end
for at = 7, #ARGV, 4 do
  if remove(ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]) then
    redis.call('HINCRBY', state, 'taken_rows', -1)
    redis.call('HINCRBY', state, 'taken_bytes', -ARGV[at + 2])
  end
end
if ARGV[6] == '1' then free() end
return {(#ARGV - 6) / 4, sums()}
""")

# ARGV: the last id of the batch. Returns id, source and data of what was dropped.
RELEASE = _add_common("""
if is_owner() then
  free()
  if ARGV[6] ~= '' then redis.call('HSETNX', state, 'front_to', ARGV[6]) end
end
return {trim(), sums()}
""")

# ARGV: ids, oldest first. Returns how many at the front are gone.
GONE = _add_common("""
for at = 6, #ARGV do
  if #redis.call('XRANGE', stream, ARGV[at], ARGV[at]) > 0 then return {at - 6, sums()} end
end
return {#ARGV - 5, sums()}
""")
