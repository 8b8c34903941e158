-- Looks whether a row is in its session's and its user's index and whether both live as long as it does,
-- and mends what isn't so (I1, I2). What it tells was so at one instant. The row itself is never changed.
--
-- KEYS  1 row, 2 session index, 3 the mark of the grace period, 4 user index (only with a user)
-- ARGV  1 prefix of the tenant, 2 the user that the row was seen to name, or '', 3 '1' to mend, '' to
--       only look
-- Gives { place, fault, ... }: places are 'session' and 'user', faults 'missing' and 'early'. An index
-- that is no set is that index's fault, not the row's. { 'changed' }: the row is gone or names another
-- user now.
local key, prefix, user = KEYS[1], ARGV[1], ARGV[2]
local places = { { name = 'session', index = KEYS[2] }, { name = 'user', index = KEYS[4] } }
local looked_at = {}
for _, place in ipairs(places) do
  local is = place.index and redis.pcall('SISMEMBER', place.index, key)
  if type(is) == 'number' then
    place.holds = is == 1
    place.left = redis.call('PTTL', place.index)
    looked_at[#looked_at + 1] = place
  end
end
-- The row's end is read last: on Redis 6.2 the clock goes on meanwhile.
local left = redis.call('PTTL', key)

local faulty = {}
for _, place in ipairs(looked_at) do
  if not place.holds then
    place.fault = 'missing'
  elseif place.left ~= -1 and (left == -1 or place.left < left) then
    place.fault = 'early'
  end
  if place.fault then faulty[#faulty + 1] = place end
end
if #faulty == 0 then return {} end

-- What was asked about may not be what is there by now.
local bytes = read(key)
if not bytes then return { 'changed' } end
local named = fields(bytes).user_id
if type(named) ~= 'string' then named = '' end
if named ~= user then return { 'changed' } end

local told = {}
local grace = redis.call('EXISTS', KEYS[3]) == 1
for _, place in ipairs(faulty) do
  told[#told + 1] = place.name
  told[#told + 1] = place.fault
  if ARGV[3] == '1' then
    if place.left == -1 then
      -- It stays for ever, for the sake of a row that may be none of its members yet.
      redis.call('SADD', place.index, key)
    else
      local ttl = left == -1 and 0 or math.max(left, 1)
      index_add(place.index, key, ttl, prefix, grace and place.name == 'user')
    end
  end
end
return told
