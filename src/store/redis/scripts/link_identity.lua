-- Links an identity to a user, if the user has a record and nobody else has the identity, in one step (guarantees, section
-- 2.3).
--
-- KEYS  1 identity, 2 record of the user, 3 its set of identities, 4 the identity under the older layout's name of the
--       provider (only if it has one)
-- ARGV  1 prefix of the tenant, 2 '1' if the caller waits for replicas, 3 user, 4 the identity as JSON up to the value of
--       `linked_at`, 5 how many identities a user may have, 6 the older layout's names of providers, each with a space
--       behind it, 7... what the caller was asked to tell
-- Returns 'linked', 'before', 'other', 'no_user', 'full' or 'unreadable', or asks.
-- uses: latest typed listen linked is_user is_set fence starts_with
listen(7)
local identity, set, prefix, user = KEYS[1], KEYS[3], ARGV[1], ARGV[3]
local owner = linked(identity)
local is_good = owner and owner ~= '' and is_user(prefix, owner)
local older = KEYS[4] and not is_good and linked(KEYS[4])
if untold then return untold end
if owner == '' or older == '' then return 'unreadable' end
if not is_user(prefix, user) then return 'no_user' end
-- An older identity that isn't copied yet counts as the identity, and so does one beside a link whose user is gone.
local other = is_good and owner or older
if other and other ~= user and is_user(prefix, other) then return 'other' end
if not is_set(set) then return redis.error_reply('WRONGTYPE the set of identities is of another type') end
if owner == user then
  if redis.call('SADD', set, identity) == 0 then fence(ARGV[2], prefix) end
  return 'before'
end
if redis.call('SCARD', set) >= tonumber(ARGV[5]) then
  -- Those count that `ListIdentities` shows: no copies that the older layout's names still have, and nobody else's.
  local own = 0
  for _, member in ipairs(redis.call('SMEMBERS', set)) do
    local is_identity = starts_with(member, prefix .. 'provider:')
    local size, name = string.match(member, '^(%d+):([^:]*):', #prefix + 10)
    local is_older = name and #name == tonumber(size) and string.find(' ' .. ARGV[6], ' ' .. name .. ' ', 1, true)
    if is_identity and not is_older and linked(member) == user then own = own + 1 end
  end
  if untold then return untold end
  if own >= tonumber(ARGV[5]) then return 'full' end
end
local now = redis.call('TIME')[1]
redis.call('SET', identity, ARGV[4] .. now .. ',"last_used_at":0}')
redis.call('SADD', set, identity)
if owner then
  -- uses: leave_set
  leave_set(prefix, owner, identity)
end
return 'linked'
