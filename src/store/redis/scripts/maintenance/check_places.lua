-- Finds the members of a page of a sorted set of pending authorizations that don't belong there, and removes them. The report is
-- true of one instant. No authorization is changed, and keys outside of the tenant aren't even read.
--
-- KEYS  1 set
-- ARGV  1 prefix of the tenant, 2 how the JSON of a member names the client of the set, or '', 3 the score to begin at, 4 how
--       many members with that score were looked at before, 5 how many to look at, 6 '1' to remove them, '' to only look
-- Returns { the score to go on at or '' at the end, how many members with it were looked at, how many were in all, fault,
-- member, ... }. The faults are 'foreign' (no key of a pending authorization of the tenant), 'vacant' (nobody waits there, but
-- it counts as one who does) and 'dangling' (the same, but its time is over, so that it counts no more). Returns { 'type' } if
-- the set isn't a sorted set: to repair that, it is deleted.
-- uses: latest typed starts_with
local set, prefix, client, from = KEYS[1], ARGV[1] .. 'pending:', ARGV[2], ARGV[3]
local page = typed(redis.pcall('ZRANGEBYSCORE', set, from, '+inf', 'WITHSCORES', 'LIMIT', ARGV[4], ARGV[5]))
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

local next, seen = from, tonumber(ARGV[4])
local report = { '', 0, #page / 2 }
for i = 1, #page, 2 do
  local member, score = page[i], page[i + 1]
  if score ~= next then next, seen = score, 0 end
  local fault = fault_of(member, score)
  if fault then
    report[#report + 1] = fault
    report[#report + 1] = member
  end
  if fault and ARGV[6] == '1' then redis.call('ZREM', set, member) else seen = seen + 1 end
end
if #page == 2 * tonumber(ARGV[5]) then report[1], report[2] = next, seen end
return report
