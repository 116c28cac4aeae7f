"""Lua code that the scripts of the Redis store share: the sums of a stream, and removing entries.

Invariant: one script changes a stream together with the sums beside it (`state`) and its lease. The
lease is an expiring key that holds the token of its holder. `owner` in the state is the token of
the last claim and does not expire, so a process whose lease ran out owns its batch until another
one claims it. `taken_to`, `taken_rows` and `taken_bytes` in the state describe the claimed entries.

An entry has one field, whose name is `<source>:<number>` and whose value is the event.

Any client of the server can change these keys, and a full server may evict them, so each script
checks what it reads. The state has a checksum, the number of entries in the stream, and the id of
the newest one: after a change that no script made, the sums are counted again. A key of another
type is not ours and stays as it is: the script fails. Redis does not undo a script that fails half
way, so everything that can fail is read before the first write.

A full server (`maxmemory`) refuses a script if its first write may take memory, but not its later
writes. All scripts but those that add events begin with a write that takes none, so only adding is
refused.
"""

from __future__ import annotations

# `mine`: a hash that only this source writes; it expires after a week. All events numbered from
# `first` to `last` are or were stored. The events that were added last, perhaps without an answer,
# have ids from `from` to `to`. `ack` is the token of the last acknowledgement.
#
# The outcomes of other processes' events are counted in two keys that take turns, a week each. A
# key expires when its next turn begins, so an outcome is known for a week at least.
STATE = """
local stream, state, lease, mine, rejected = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local me = ARGV[1]
local overhead, max_rows, max_bytes = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])

local NAMES = {'rows', 'bytes', 'newest', 'owner', 'taken_to', 'taken_rows', 'taken_bytes',
  'front_to'}
local COUNTS = {rows = true, bytes = true, taken_rows = true, taken_bytes = true}

local rows = redis.pcall('XLEN', stream)
local raw = redis.pcall('HMGET', state, 'check', unpack(NAMES))
local holder = redis.pcall('GET', lease)
local known = redis.pcall('HMGET', mine, 'ack', 'first', 'last', 'from', 'to')
if type(rows) == 'table' or raw.err or type(holder) == 'table' or known.err then
  for at, expected in ipairs({'stream', 'hash', 'string', 'hash'}) do
    local found = redis.call('TYPE', KEYS[at]).ok
    if found ~= expected and found ~= 'none' then
      return redis.error_reply('WRONGTYPE the key ' .. KEYS[at] .. ' holds a ' .. found ..
        ', which this buffer did not put there: rename it, or use another stream=')
    end
  end
  return type(rows) == 'table' and rows or raw.err and raw or
    type(holder) == 'table' and holder or known
end

-- The source and the data of an entry that a process added; nothing for any other entry.
local function read(entry)
  local f = entry[2]
  if #f ~= 2 then return nil end
  local source, number = string.match(f[1], '^(%d+):(%d+)$')
  if source and #source < 20 and #number < 16 then return source, f[2] end
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
local function is_id(text)
  local time, number = string.match(text or '', '^(%d+)%-(%d+)$')
  return time and #time < 20 and #number < 20
end

local s = {}
local function recount()
  s.rows, s.bytes = count('-', '+')
  s.taken_rows, s.taken_bytes = 0, 0
  if s.taken_to ~= '' then s.taken_rows, s.taken_bytes = count('-', s.taken_to) end
  local newest = redis.call('XREVRANGE', stream, '+', '-', 'COUNT', 1)[1]
  s.newest = newest and newest[1] or '0-0'
end
local function checksum(values) return redis.sha1hex(table.concat(values, ' ')) end
local function load()
  local values = {}
  for at, name in ipairs(NAMES) do
    values[at] = raw[at + 1] or ''
    s[name] = COUNTS[name] and tonumber(values[at]) or values[at]
  end
  local sound = raw[1] == checksum(values)
  if not sound then
    -- '?': the process that claimed is not known. It may go on while it has the lease.
    local is_known = string.find(s.owner, '^%d+$') and is_id(s.taken_to)
    if not is_known then s.owner, s.taken_to = '?', '' end
    s.rows, s.bytes, s.newest, s.front_to = -1, 0, '', ''
  end
  if sound and s.newest ~= '' then  -- what another client added
    local more = redis.pcall('XRANGE', stream, '(' .. s.newest, '+', 'COUNT', 1)
    if more[1] then
      local added_rows, added_bytes = count('(' .. s.newest, '+')
      s.rows, s.bytes = s.rows + added_rows, s.bytes + added_bytes
      s.newest = redis.call('XREVRANGE', stream, '+', '-', 'COUNT', 1)[1][1]
    end
  end
  if s.rows ~= rows then recount() end
end
load()

-- Call this before the first other write, unless a full server should refuse the script.
local has_begun = false
local function begin()
  if not has_begun then redis.call('HDEL', state, '') end
  has_begun = true
end
local function save()
  local values, fields = {}, {}
  for at, name in ipairs(NAMES) do
    values[at] = COUNTS[name] and string.format('%.0f', s[name]) or s[name]
    fields[2 * at - 1], fields[2 * at] = name, values[at]
  end
  local check = checksum(values)
  if check == raw[1] then return end
  begin()
  redis.call('HSET', state, 'check', check, unpack(fields))
end
local function done(result)
  save()
  local is_mine = s.owner == me and 1 or 0
  return {result, {s.rows, s.bytes, is_mine, s.taken_rows, s.taken_bytes, s.newest}}
end
local function is_owner()
  if s.owner ~= '?' then return s.owner == me end
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
"""

# Removing entries from a stream, and recording their outcomes.
REMOVAL = """
local function delete(ids)
  local deleted = 0
  for at = 1, #ids, 1000 do  -- Lua has a limit for the number of arguments
    deleted = deleted + redis.call('XDEL', stream, unpack(ids, at, math.min(at + 999, #ids)))
  end
  s.rows = s.rows - deleted
  return deleted
end
-- A damaged count is replaced; a key of another type is left alone.
local week
local function tally(source, outcome, number)
  if source == me then return end
  week = week or math.floor(tonumber(redis.call('TIME')[1]) / 604800)
  local key, field = KEYS[6 + week % 2], source .. ':' .. outcome
  local counted = redis.pcall('HINCRBY', key, field, number)
  if type(counted) == 'table' then counted = redis.pcall('HSET', key, field, number) end
  if type(counted) ~= 'table' then redis.call('EXPIREAT', key, (week + 2) * 604800) end
end
-- Moves an entry that is no event to a stream of rejected ones: the newest 100, shortened.
local function reject(entry, reason)
  if delete({entry[1]}) == 0 then return end
  s.bytes = s.bytes - size(entry)
  local kept = {}
  for at = 1, math.min(#entry[2], 20) do kept[at] = string.sub(entry[2][at], 1, 1024) end
  local added = redis.pcall('XADD', rejected, 'MAXLEN', 100, '*', 'reason', reason, 'id', entry[1],
    unpack(kept))
  if type(added) ~= 'table' then redis.call('EXPIRE', rejected, 2592000) end
end
-- Removes claimed events: their ids, in order; their size; the outcome (`reason`) of the first
-- `refused` ones, and that of the `others`; whether all claimed entries still exist. From `at` on,
-- ARGV has source, outcome and number of those that other processes added.
local function settle(ids, bytes, refused, reason, others, is_complete, at)
  if is_complete then
    local is_damaged = delete(ids) < #ids
    s.bytes = s.bytes - bytes
    if is_damaged then recount() end
    for tallied = at, #ARGV, 3 do
      tally(ARGV[tallied], ARGV[tallied + 1], ARGV[tallied + 2])
    end
    return #ids, bytes
  end
  local removed, removed_bytes = 0, 0
  for number, id in ipairs(ids) do
    local entry = redis.call('XRANGE', stream, id, id)[1]
    local source = entry and read(entry)
    if source and delete({id}) == 1 then
      removed, removed_bytes = removed + 1, removed_bytes + size(entry)
      tally(source, number <= refused and reason or others, 1)
    end
  end
  s.bytes = s.bytes - removed_bytes
  return removed, removed_bytes
end
local function split(text)
  local words, number = {}, 0
  for word in string.gmatch(text, '%S+') do
    number = number + 1
    words[number] = word
  end
  return words
end
"""

# Drops the oldest unclaimed entries while the stream exceeds its bounds.
TRIMMING = """
local function is_over()
  return s.rows - s.taken_rows > max_rows or s.bytes - s.taken_bytes > max_bytes
end
local function trim()
  local heads, data, foreign, sources = {}, {}, 0, {}
  while is_over() do
    local excess = math.max(1, math.min(500, s.rows - s.taken_rows - max_rows))
    local from = s.taken_to == '' and '-' or '(' .. s.taken_to
    local some = redis.call('XRANGE', stream, from, '+', 'COUNT', excess)
    if #some == 0 then break end
    for _, entry in ipairs(some) do
      if not is_over() then break end
      local source, value = read(entry)
      if source then
        delete({entry[1]})
        s.bytes = s.bytes - #value - overhead
        sources[source] = (sources[source] or 0) + 1
        local at = 3 * #data
        data[#data + 1] = value
        heads[at + 1], heads[at + 2], heads[at + 3] = entry[1], entry[2][1], #value
      else
        reject(entry, 'not added by this buffer')
        foreign = foreign + 1
      end
    end
  end
  for source, number in pairs(sources) do tally(source, 'queue_full', number) end
  return table.concat(heads, ' '), table.concat(data), foreign
end
"""
