-- Finds the members of a page of a sorted set of pending authorizations that don't belong there, and removes them. The report is
-- true of one instant. No authorization is changed, and keys outside of the tenant aren't even read.
--
-- KEYS  1 set
-- ARGV  1 prefix of the tenant, 2 how the JSON of a member names the client of the set, or '', 3 the score to begin at, 4 the
--       member with that score that was looked at last, or '', 5 how many to look at, 6 '1' to remove them, '' to only look
-- Returns { the score to go on at or '' at the end, the member that was looked at last, how many were looked at, fault,
-- member, ... }. The faults are 'foreign' (no key of a pending authorization of the tenant), 'vacant' (nobody waits there, but
-- it counts as one who does) and 'dangling' (the same, but its time is over, so that it counts no more). Returns { 'type' } if
-- the set isn't a sorted set: to repair that, it is deleted.
-- uses: latest typed starts_with
local set, prefix, client, from = KEYS[1], ARGV[1] .. 'pending:', ARGV[2], ARGV[3]

-- Whether one text comes after another, byte by byte, as Redis orders members of one score. Lua orders by the server's language.
local function is_after(one, other)
  for i = 1, math.min(#one, #other) do
    local a, b = string.byte(one, i), string.byte(other, i)
    if a ~= b then return a > b end
  end
  return #one > #other
end

-- How many members with the score to begin at were looked at. Not what there were: others come and go between two pages.
local function looked_at()
  local low, high = 0, ARGV[4] == '' and 0 or typed(redis.pcall('ZCOUNT', set, from, from)) or 0
  while low < high do
    local middle = math.floor((low + high) / 2)
    local member = redis.call('ZRANGEBYSCORE', set, from, from, 'LIMIT', middle, 1)[1]
    if is_after(member, ARGV[4]) then high = middle else low = middle + 1 end
  end
  return low
end

local page = typed(redis.pcall('ZRANGEBYSCORE', set, from, '+inf', 'WITHSCORES', 'LIMIT', looked_at(), ARGV[5]))
if not page then
  -- What is missing in a set that begins anew is added by the check of the authorizations.
  if ARGV[6] == '1' then redis.call('DEL', set) end
  return { 'type' }
end
local time = redis.call('TIME')
-- A place may outlast its authorization by the ms to which Redis rounds.
local now = time[1] * 1000 + math.floor(time[2] / 1000) + 1000

local function fault_of(member, score)
  if not starts_with(member, prefix) then return 'foreign' end
  local held = typed(redis.pcall('GETRANGE', member, '0', '10')) or ''
  if held ~= '{"broker":"' then return tonumber(score) > now and 'vacant' or 'dangling' end
  if client == '' then return nil end
  -- The client stands before what may be large.
  local head = redis.call('GETRANGE', member, '0', '16383')
  local is_others = string.find(head, '"client":"', 1, true) and not string.find(head, client, 1, true)
  return is_others and 'vacant'
end

local report = { '', '', #page / 2 }
for i = 1, #page, 2 do
  local member = page[i]
  local fault = fault_of(member, page[i + 1])
  if fault then
    report[#report + 1] = fault
    report[#report + 1] = member
  end
  if fault and ARGV[6] == '1' then redis.call('ZREM', set, member) end
end
if #page == 2 * tonumber(ARGV[5]) then report[1], report[2] = page[#page], page[#page - 1] end
return report
