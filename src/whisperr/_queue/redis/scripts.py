"""The Lua scripts that the Redis server runs, each atomically; their shared code is in `lua`.

All scripts take the same KEYS, the same first four of ARGV, then their own values. Every key that a
script uses is in KEYS, and all share one hash tag (`keys`), so that a cluster has them on one
server.

A script returns its result and the sums of the stream. It returns several entries as two texts: the
id, the field's name and the length of the data of each, separated by spaces; and all data,
concatenated. Redis 6.2 and later.
"""

from __future__ import annotations

from .dead_letters import KEEPING
from .lua import REMOVAL, STATE, TRIMMING

# ARGV: the source of the events; the last number that an earlier attempt may have stored; the first
# number; all numbers, or "" if they are consecutive; the data of each. No event is stored twice.
# Returns the first id if the ids are consecutive, else all ids, with `-` for an event that was
# stored earlier and is not there any more; the dropped events; and how many entries were set aside.
APPEND = (
    STATE
    + REMOVAL
    + TRIMMING
    + """
local source, tried_to = ARGV[5], tonumber(ARGV[6])
local numbers = ARGV[8] ~= '' and split(ARGV[8])
local total = #ARGV - 8
local first = tonumber(ARGV[7])
local last = numbers and tonumber(numbers[total]) or first + total - 1
local known_first, known_last = tonumber(known[2] or ''), tonumber(known[3] or '')
local from, to = known[4], known[5]
local is_known = known_first and known_last and first <= known_last and known_first <= last
local was_tried = is_known and first <= tried_to

local earlier = {}
if was_tried and source == me and is_id(from) and is_id(to) then
  local at = from
  while at do
    local some = redis.pcall('XRANGE', stream, at, to, 'COUNT', 200)
    for _, entry in ipairs(some) do
      if read(entry) == me then
        earlier[tonumber(string.match(entry[2][1], ':(%d+)$'))] = entry[1]
      end
    end
    at = #some == 200 and '(' .. some[200][1]
  end
end

local ids, fields, is_run = {}, source .. ':', true
local time, sequence, first_new, last_new, bytes, added = nil, nil, nil, nil, 0, 0
for at = 1, total do
  local number, data, id = numbers and tonumber(numbers[at]) or first + at - 1, ARGV[8 + at], nil
  if was_tried and number <= tried_to and known_first <= number and number <= known_last then
    id, is_run = earlier[number] or '-', false
  else
    if sequence then
      sequence = sequence + 1
      id = time .. '-' .. sequence
      redis.call('XADD', stream, id, fields .. number, data)
    else
      id = redis.call('XADD', stream, '*', fields .. number, data)
      local digits
      time, digits = string.match(id, '^(%d+)%-(%d+)$')
      if #digits < 13 then sequence = tonumber(digits) else is_run = false end
      first_new = first_new or id
    end
    last_new, bytes, added = id, bytes + #data + overhead, added + 1
  end
  ids[at] = id
end
has_begun = added > 0
begin()
s.rows, s.bytes, s.newest = s.rows + added, s.bytes + bytes, last_new or s.newest
if was_tried then
  if not is_id(from) or not is_id(to) then from, to = first_new or '', last_new or '' end
  first, last = math.min(first, known_first), math.max(last, known_last)
else
  from = first_new
  if known_first and known_last and known_first <= first and first == known_last + 1 then
    first = known_first
  end
end
remember('first', first, 'last', last, 'from', from, 'to', last_new or to)
local heads, data, foreign = trim()
return done({is_run and ids[1] or table.concat(ids, ' '), heads, data, foreign})
"""
)

# ARGV: the lease in milliseconds; the longest lease of any process; the most events; the size after
# which no more are returned. Returns the milliseconds that another process's lease still lasts; the
# oldest events, which no other process may claim or drop from now on; and how many entries were set
# aside.
CLAIM = (
    STATE
    + REMOVAL
    + """
if holder and holder ~= me then
  local left = redis.call('PTTL', lease)
  if left < 0 or left > tonumber(ARGV[6]) then  -- damaged: no process sets such a lease
    redis.call('PEXPIRE', lease, ARGV[5])
    left = tonumber(ARGV[5])
  end
  return done({left, '', '', 0})
end
begin()
local heads, data, foreign, total, bytes, last = {}, {}, 0, 0, 0, ''
local front = is_id(s.front_to) and s.front_to
for _ = 1, 20 do
  local some = front and redis.call('XRANGE', stream, '-', front, 'COUNT', ARGV[7]) or {}
  if #some == 0 then
    front, s.front_to = nil, ''
    some = redis.call('XRANGE', stream, '-', '+', 'COUNT', ARGV[7])
  end
  for _, entry in ipairs(some) do
    local source, value = read(entry)
    if source then
      local at = 3 * total
      heads[at + 1], heads[at + 2], heads[at + 3] = entry[1], entry[2][1], #value
      total, bytes, last = total + 1, bytes + #value + overhead, entry[1]
      data[total] = value
    else
      reject(entry, 'not added by this buffer')
      foreign = foreign + 1
    end
    if bytes > tonumber(ARGV[8]) then break end
  end
  if total > 0 or #some == 0 then break end
end
if total > 0 then
  redis.call('SET', lease, me, 'PX', ARGV[5])
  s.owner, s.taken_to, s.taken_rows, s.taken_bytes = me, last, total, bytes
end
return done({0, table.concat(heads, ' '), table.concat(data), foreign})
"""
)

# ARGV: the last id of the batch (or ""), its rows, its bytes; how many events CLAIM returned; the
# ids of expired events, and their size; the ids of damaged entries; reason, message and status for
# the dead letters of the expired events, and the bounds of dead letters (or ""); then source,
# outcome and number of the expired events that other processes added. Returns whether the claim was
# still owned, and whether dead letters were kept.
MARK = (
    STATE
    + REMOVAL
    + KEEPING
    + """
if not is_owner() then return done({0, 0}) end
local expired = split(ARGV[9])
local kept = keep(expired, ARGV[15], ARGV[12], ARGV[13], ARGV[14])
begin()
settle(expired, tonumber(ARGV[10]), #expired, 'expired', '', s.taken_rows == tonumber(ARGV[8]), 16)
for _, id in ipairs(split(ARGV[11])) do
  local entry = redis.call('XRANGE', stream, id, id)[1]
  if entry then reject(entry, 'damaged') end
end
if ARGV[5] == '' then
  free()
else
  s.owner, s.taken_to = me, ARGV[5]
  s.taken_rows, s.taken_bytes = tonumber(ARGV[6]), tonumber(ARGV[7])
end
return done({1, kept})
"""
)

# ARGV: the lease in milliseconds. Returns whether the claim was still owned.
EXTEND = (
    STATE
    + """
if not is_owner() then return done(0) end
local left = redis.call('PTTL', lease)
if left < tonumber(ARGV[5]) or s.owner == '?' then
  begin()
  s.owner = me
  redis.call('SET', lease, me, 'PX', ARGV[5])
end
return done(1)
"""
)

# ARGV: a token; how many events are claimed; how many of the first were lost, the reason, the
# message, the server's status (or ""), and the bounds of dead letters (or ""); the ids of all
# events that ended, and their size; then source, outcome and number of those that other processes
# added. Returns how many ended while they were owned, and whether dead letters were kept. If the
# answer of an attempt was lost, another one with the same token returns the same.
ACK = (
    STATE
    + REMOVAL
    + KEEPING
    + """
local ids = split(ARGV[12])
if known[1] == ARGV[5] then return done({#ids, 1}) end
if not is_owner() then return done({0, 0}) end
local kept = tonumber(ARGV[7]) > 0 and keep(ids, ARGV[11], ARGV[8], ARGV[9], ARGV[10]) or 0
begin()
local claimed = tonumber(ARGV[6])
local removed, bytes = settle(ids, tonumber(ARGV[13]), tonumber(ARGV[7]), ARGV[8], 'delivered',
  s.taken_rows == claimed, 14)
s.taken_rows = math.max(s.taken_rows - removed, 0)
s.taken_bytes = math.max(s.taken_bytes - bytes, 0)
if #ids == claimed then free() end
remember('ack', ARGV[5])
return done({#ids, kept})
"""
)

# ARGV: the last id of the batch. Returns the dropped events, and how many entries were set aside.
RELEASE = (
    STATE
    + REMOVAL
    + TRIMMING
    + """
begin()
if is_owner() then
  free()
  if ARGV[5] ~= '' and s.front_to == '' then s.front_to = ARGV[5] end
end
return done({trim()})
"""
)

# ARGV: ids and numbers of own events, oldest first; then outcomes. Returns the lowest id that may
# still exist; how many of the oldest own events are gone; and, for each outcome in each of two
# weeks, how many own events other processes have recorded with it so far.
GONE = (
    STATE
    + """
local oldest = redis.call('XRANGE', stream, '-', '+', 'COUNT', 1)[1]
local gone = 0
for id, number in string.gmatch(ARGV[5], '(%S+) (%S+)') do
  local entry = redis.call('XRANGE', stream, id, id)[1]
  if entry and entry[2][1] == me .. ':' .. number then break end
  gone = gone + 1
end
local fields = {}
for at = 6, #ARGV do fields[at - 5] = me .. ':' .. ARGV[at] end
local counts = {}
for at = 6, 7 do
  local week = redis.pcall('HMGET', KEYS[at], unpack(fields))
  counts[at - 5] = week.err and {} or week
end
return done({oldest and oldest[1] or s.newest, gone, counts[1], counts[2]})
"""
)
