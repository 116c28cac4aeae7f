"""The Lua scripts that the Redis server runs, each as one step.

Invariant: a change to a stream, to the sums beside it (`state`) and to its lease is one script.
The lease is a key with the token of its holder that expires; `owner` in the state is the token of
the last claim and does not expire. So a process whose lease ran out still owns its batch until
another process claims it. `taken_to`, `taken_rows` and `taken_bytes` in the state say what is
claimed.

Any client of the server can change these keys, and a server that is full may evict them. So
each script checks what it reads. The state has a checksum, and knows how many entries the stream
has and the id of the newest one: after any change that no script made, the sums are counted anew.
A key of another type is not ours, and stays as it is: the script is refused. All that can fail is
read before the first write, since a script that fails half way is not undone.

A full server (`maxmemory`) refuses a script whose first write may take memory, but none of its
later writes. So only adding an event is refused: all other scripts begin with a write that takes
none.

Every script gets the same KEYS, the same first five of ARGV, then values of its own. It returns its
result and the sums of the stream. Redis 6.2 and later.
"""

from __future__ import annotations

# `mine`: what this source alone writes: `first` and `last`, the numbers of the events that it
# stored last, and `ack`, the token of its last acknowledgement. Outcomes are counted for each other
# process, and forgotten after a week, as `mine` is.
_COMMON = """
local stream, state, lease, mine, rejected = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local me, endings = ARGV[1], ARGV[2]
local overhead, max_rows, max_bytes = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])

for at, expected in ipairs({'stream', 'hash', 'string', 'hash'}) do
  local found = redis.call('TYPE', KEYS[at]).ok
  if found ~= expected and found ~= 'none' then
    return redis.error_reply('WRONGTYPE the key ' .. KEYS[at] .. ' holds a ' .. found ..
      ', which this buffer did not put there: rename it, or use another stream=')
  end
end

-- The source and the data of an entry that a process added; nothing for any other entry.
local function read(entry)
  local f = entry[2]
  if #f == 6 and f[1] == 's' and f[3] == 'n' and f[5] == 'd' and #f[2] < 20
      and string.find(f[2], '^%d+$') and string.find(f[4], '^%d+$') then return f[2], f[6] end
end
local function size(entry)
  local _, data = read(entry)
  if data then return #data + overhead end
  local bytes = overhead
  for _, text in ipairs(entry[2]) do bytes = bytes + #text end
  return bytes
end
local function count(from, to)
  local rows, bytes = 0, 0
  while true do
    local some = redis.pcall('XRANGE', stream, from, to, 'COUNT', 500)  -- no id is above the last
    for _, entry in ipairs(some) do rows, bytes = rows + 1, bytes + size(entry) end
    if #some < 500 then return rows, bytes end
    from = '(' .. some[500][1]
  end
end

local NAMES = {'rows', 'bytes', 'newest', 'owner', 'taken_to', 'taken_rows', 'taken_bytes',
  'front_to'}
local COUNTS = {rows = true, bytes = true, taken_rows = true, taken_bytes = true}
local function is_id(text)
  local time, number = string.match(text, '^(%d+)%-(%d+)$')
  return time and #time < 20 and #number < 20
end
local s, stored = {}, nil
local function checksum(values) return redis.sha1hex(table.concat(values, ' ')) end
local function load()
  local raw = redis.call('HMGET', state, 'check', unpack(NAMES))
  local values = {}
  for at, name in ipairs(NAMES) do
    values[at] = raw[at + 1] or ''
    s[name] = COUNTS[name] and tonumber(values[at]) or values[at]
  end
  stored = raw[1]
  local sound = stored == checksum(values)
  if not sound then
    -- '?': the process that claimed is not known. It may go on while it has the lease.
    local known = string.find(s.owner, '^%d+$') and is_id(s.taken_to)
    if not known then s.owner, s.taken_to = '?', '' end
    s.rows, s.bytes, s.newest, s.front_to = -1, 0, '', ''
  end
  local rows = redis.call('XLEN', stream)
  if sound and s.newest ~= '' then  -- what another client added
    local more = redis.pcall('XRANGE', stream, '(' .. s.newest, '+', 'COUNT', 1)
    if more[1] then
      local added_rows, added_bytes = count('(' .. s.newest, '+')
      s.rows, s.bytes = s.rows + added_rows, s.bytes + added_bytes
      s.newest = redis.call('XREVRANGE', stream, '+', '-', 'COUNT', 1)[1][1]
    end
  end
  if s.rows ~= rows then
    s.rows, s.bytes = count('-', '+')
    s.taken_rows, s.taken_bytes = 0, 0
    if s.taken_to ~= '' then s.taken_rows, s.taken_bytes = count('-', s.taken_to) end
    local newest = redis.call('XREVRANGE', stream, '+', '-', 'COUNT', 1)[1]
    s.newest = newest and newest[1] or '0-0'
  end
end
load()

-- To be called before the first other write, unless a full server is to refuse the script.
local function begin() redis.call('HDEL', state, '') end
local function save()
  local values, fields = {}, {}
  for at, name in ipairs(NAMES) do
    values[at] = COUNTS[name] and string.format('%.0f', s[name]) or s[name]
    fields[2 * at - 1], fields[2 * at] = name, values[at]
  end
  local check = checksum(values)
  if check == stored then return end
  begin()
  redis.call('HSET', state, 'check', check, unpack(fields))
  stored = check
end
local function done(result)
  save()
  local is_mine = s.owner == me and 1 or 0
  return {result, {s.rows, s.bytes, is_mine, s.taken_rows, s.taken_bytes}}
end

local function is_owner()
  if s.owner ~= '?' then return s.owner == me end
  local holder = redis.call('GET', lease)
  return not holder or holder == me
end
local function free()
  s.owner, s.taken_to, s.taken_rows, s.taken_bytes = '', '', 0, 0
  redis.call('DEL', lease)
end
local function remember(...)
  redis.call('HSET', mine, ...)
  redis.call('EXPIRE', mine, 604800)
end
local function delete(id, bytes)
  if redis.call('XDEL', stream, id) == 0 then return false end
  s.rows, s.bytes = s.rows - 1, s.bytes - bytes
  return true
end
-- What is damaged or has another type cannot be counted up: then it counts from 1, or not at all.
local function remove(id, source, bytes, outcome)
  if not delete(id, bytes) then return false end
  if source ~= me then
    local counted = redis.pcall('HINCRBY', endings .. source, outcome, 1)
    if type(counted) == 'table' then redis.pcall('HSET', endings .. source, outcome, 1) end
    redis.call('EXPIRE', endings .. source, 604800)
  end
  return true
end
-- The newest 100 of what is no event stay in a stream beside, shortened.
local function reject(entry, reason)
  if not delete(entry[1], size(entry)) then return end
  local kept = {}
  for at = 1, math.min(#entry[2], 20) do kept[at] = string.sub(entry[2][at], 1, 1024) end
  redis.pcall('XADD', rejected, 'MAXLEN', 100, '*', 'reason', reason, 'id', entry[1],
    unpack(kept))
  redis.call('EXPIRE', rejected, 2592000)
end
local function trim()
  local dropped, foreign = {}, 0
  while s.rows - s.taken_rows > max_rows or s.bytes - s.taken_bytes > max_bytes do
    local from = s.taken_to ~= '' and '(' .. s.taken_to or '-'
    local entry = redis.pcall('XRANGE', stream, from, '+', 'COUNT', 1)[1]
    if not entry then break end
    local source, data = read(entry)
    if source then
      remove(entry[1], source, #data + overhead, 'queue_full')
      dropped[#dropped + 1] = {entry[1], source, data}
    else
      reject(entry, 'not added by this buffer')
      foreign = foreign + 1
    end
  end
  return dropped, foreign
end
"""


def _add_common(body: str) -> str:
    return _COMMON + body


# ARGV: number, whether an earlier attempt may have stored it, and data of each event. None is
# stored twice. Returns the ids, empty for events that were stored earlier and are gone; id, source
# and data of what was dropped; and how many entries were set aside.
APPEND = _add_common("""
local earlier, was_tried = {}, false
for at = 7, #ARGV, 3 do was_tried = was_tried or ARGV[at] == '1' end
local to = '+'
while was_tried do
  local some = redis.call('XREVRANGE', stream, to, '-', 'COUNT', 200)
  for _, entry in ipairs(some) do
    if read(entry) == me then earlier[entry[2][4]] = entry[1] end
  end
  if #some < 200 then break end
  to = '(' .. some[200][1]
end
-- What the newest attempt that came here stored: of these, one that is not found is gone.
local known = redis.call('HMGET', mine, 'first', 'last')
local first, last = tonumber(known[1] or ''), tonumber(known[2] or '')
local ids = {}
for at = 6, #ARGV, 3 do
  local number, data, id = tonumber(ARGV[at]), ARGV[at + 2], nil
  local is_gone = false
  if ARGV[at + 1] == '1' then
    id = earlier[ARGV[at]]
    is_gone = not id and first and last and first <= number and number <= last
  end
  if not id and not is_gone then
    id = redis.call('XADD', stream, '*', 's', me, 'n', ARGV[at], 'd', data)
    s.rows, s.bytes, s.newest = s.rows + 1, s.bytes + #data + overhead, id
  end
  ids[#ids + 1] = id or ''
end
begin()
remember('first', ARGV[6], 'last', ARGV[#ARGV - 2])
local dropped, foreign = trim()
return done({ids, dropped, foreign})
""")

# ARGV: milliseconds, the most of them that any process asks for, most events. Returns for how many
# milliseconds the lease of another process lasts; id, source and data of the oldest events, which
# no other process may claim or drop from now on; and how many entries were set aside.
CLAIM = _add_common("""
local holder = redis.call('GET', lease)
if holder and holder ~= me then
  local left = redis.call('PTTL', lease)
  if left < 0 or left > tonumber(ARGV[7]) then  -- damaged: no process sets such a lease
    redis.call('PEXPIRE', lease, ARGV[6])
    left = tonumber(ARGV[6])
  end
  return done({left, {}, 0})
end
begin()
local events, foreign, rows, bytes, last = {}, 0, 0, 0, ''
local front = is_id(s.front_to) and s.front_to
for _ = 1, 20 do
  local some = front and redis.call('XRANGE', stream, '-', front, 'COUNT', ARGV[8]) or {}
  if #some == 0 then
    front, s.front_to = nil, ''
    some = redis.call('XRANGE', stream, '-', '+', 'COUNT', ARGV[8])
  end
  for _, entry in ipairs(some) do
    local source, data = read(entry)
    if source then
      events[#events + 1] = {entry[1], source, data}
      rows, bytes, last = rows + 1, bytes + #data + overhead, entry[1]
    else
      reject(entry, 'not added by this buffer')
      foreign = foreign + 1
    end
  end
  if rows > 0 or #some == 0 then break end
end
if rows > 0 then
  redis.call('SET', lease, me, 'PX', ARGV[6])
  s.owner, s.taken_to, s.taken_rows, s.taken_bytes = me, last, rows, bytes
end
return done({0, events, foreign})
""")

# ARGV: the last id of the batch (or none), its rows, its bytes, for how many events that are too
# old id, source and bytes follow, then the ids of what is no event. Returns whether the claim was
# still owned.
MARK = _add_common("""
if not is_owner() then return done(0) end
begin()
local old_to = 9 + 3 * tonumber(ARGV[9])
for at = 10, old_to, 3 do remove(ARGV[at], ARGV[at + 1], ARGV[at + 2], 'expired') end
for at = old_to + 1, #ARGV do
  local entry = redis.call('XRANGE', stream, ARGV[at], ARGV[at])[1]
  if entry then reject(entry, 'damaged') end
end
if ARGV[6] == '' then
  free()
else
  s.owner, s.taken_to = me, ARGV[6]
  s.taken_rows, s.taken_bytes = tonumber(ARGV[7]), tonumber(ARGV[8])
end
return done(1)
""")

# ARGV: milliseconds. Returns whether the claim was still owned.
EXTEND = _add_common("""
if not is_owner() then return done(0) end
local left = redis.call('PTTL', lease)
if left < tonumber(ARGV[6]) or s.owner == '?' then
  begin()
  s.owner = me
  redis.call('SET', lease, me, 'PX', ARGV[6])
end
return done(1)
""")

# ARGV: a token, whether it is the whole batch, then id, source, bytes and outcome of each event.
# Returns how many of them were still owned; the same again when the answer of an attempt with this
# token was lost.
ACK = _add_common("""
local total = (#ARGV - 7) / 4
if redis.call('HGET', mine, 'ack') == ARGV[6] then return done(total) end
if not is_owner() then return done(0) end
begin()
for at = 8, #ARGV, 4 do
  local bytes = tonumber(ARGV[at + 2])
  if remove(ARGV[at], ARGV[at + 1], bytes, ARGV[at + 3]) and s.taken_rows > 0 then
    s.taken_rows, s.taken_bytes = s.taken_rows - 1, s.taken_bytes - bytes
  end
end
if ARGV[7] == '1' then free() end
remember('ack', ARGV[6])
return done(total)
""")

# ARGV: the last id of the batch. Returns id, source and data of what was dropped, and how many
# entries were set aside.
RELEASE = _add_common("""
begin()
if is_owner() then
  free()
  if ARGV[6] ~= '' and s.front_to == '' then s.front_to = ARGV[6] end
end
local dropped, foreign = trim()
return done({dropped, foreign})
""")

# ARGV: ids of own events, oldest first. Returns how many at the front are gone, and the outcomes
# that other processes have recorded until now.
GONE = _add_common("""
local gone = 0
for at = 6, #ARGV do
  local entry = redis.call('XRANGE', stream, ARGV[at], ARGV[at])[1]
  if entry and read(entry) == me then break end
  gone = gone + 1
end
local outcomes = redis.pcall('HGETALL', endings .. me)
return done({gone, outcomes.err and {} or outcomes})
""")
