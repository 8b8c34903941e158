-- Checks that an identity is in its user's set, and that the user has a record. Adds it to the set if it isn't there, also
-- if the user is gone: `DeleteUser` finds it there. The report is true of one instant. Identity and record are never changed.
--
-- KEYS  1 identity, 2 its user's set of identities
-- ARGV  1 prefix of the tenant, 2 '1' to repair, '' to only look, 3 SHA-1 of the identity that the caller saw, 4 its user
-- Returns { fault, ... }: 'missing' (not in the set) and 'userless' (no record). If the set isn't a set, that is a fault of
-- the set, and this script doesn't report it. Returns { 'changed' } if the identity is gone or another one.
-- uses: latest holds is_set plain is_user
local identity, set = KEYS[1], KEYS[2]
if not holds(identity, ARGV[3]) then return { 'changed' } end
local faults = {}
-- Other software has a set of its own for a user whom it spells in another way.
local spelled = plain(ARGV[4])
local is_in = not is_set(set) or redis.call('SISMEMBER', set, identity) == 1
  or spelled and redis.pcall('SISMEMBER', ARGV[1] .. 'user:providers:' .. spelled, identity) == 1
if not is_in then faults[1] = 'missing' end
if not is_user(ARGV[1], ARGV[4]) then faults[#faults + 1] = 'userless' end
if faults[1] == 'missing' and ARGV[2] == '1' then redis.call('SADD', set, identity) end
return faults
