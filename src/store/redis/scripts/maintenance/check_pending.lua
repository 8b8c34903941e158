-- Checks that a pending authorization has an end, and that it stands among those of its tenant and client, where it is counted
-- until then. The report is true of one instant. What the authorization says is never changed.
--
-- KEYS  1 authorization, or who took it, 2... the sorted sets in which it belongs
-- ARGV  1 the first 45 bytes of what the caller saw, 2 in ms since 1970, when it ends if it has no end, 3 '1' to repair, ''
--       to only look
-- Returns { fault, set, ... }: 'endless' (no end; the set is ''), 'missing' (not in the set, or not at its end) and 'early'
-- (the set ends before it). A set that is of another type is a fault of that set, and this script doesn't report it, unless it
-- puts a new one in its place: 'type'. Returns { 'changed' } if the authorization is gone or another one.
-- uses: latest typed
local key, repair = KEYS[1], ARGV[3] == '1'
if ARGV[1] == '' or typed(redis.pcall('GETRANGE', key, '0', '44')) ~= ARGV[1] then return { 'changed' } end
-- How many ms off an end is no fault: Redis and a slot that moves round them.
local SLACK = 1000
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

-- Whether the set has the key at about this score. Not all of the set is looked at.
local function has(set, score)
  for _, width in ipairs({ 2, SLACK }) do
    local from, to = string.format('%.0f', score - width), string.format('%.0f', score + width)
    for _, member in ipairs(redis.call('ZRANGEBYSCORE', set, from, to)) do
      if member == key then return true end
    end
  end
  return false
end

local function place(set, left)
  redis.call('ZADD', set, string.format('%.0f', now + left), key)
  if redis.call('PTTL', set) < left then redis.call('PEXPIRE', set, string.format('%.0f', left)) end
end

local left = redis.call('PTTL', key)
local is_endless = left == -1
local faults = {}
if is_endless then
  left = math.max(ARGV[2] - now, SLACK)
  faults = { 'endless', '' }
  if repair then redis.call('PEXPIRE', key, string.format('%.0f', left)) end
end
for i = 2, #KEYS do
  local set, fault = KEYS[i], nil
  local is_other = not typed(redis.pcall('ZCOUNT', set, '-inf', '+inf'))
  if is_other and repair then
    redis.call('DEL', set)
    place(set, left)
    faults[#faults + 1] = 'type'
    faults[#faults + 1] = set
  elseif not is_other then
    local ends = redis.call('PTTL', set)
    if is_endless or not has(set, now + left) then
      fault = 'missing'
    elseif ends >= 0 and ends + SLACK < left then
      fault = 'early'
    end
    if fault and repair then place(set, left) end
    if fault and not is_endless then
      faults[#faults + 1] = fault
      faults[#faults + 1] = set
    end
  end
end
return faults
