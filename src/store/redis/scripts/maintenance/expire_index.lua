-- Gives a user's index, which had no expiry in the grace period, an end with its longest row, and takes
-- dead members out (I5). Large indexes are left to the writes that follow, which prune them bit by bit.
--
-- KEYS  1 user index, 2 the mark of the grace period
-- ARGV  1 prefix of the tenant
local index, prefix = KEYS[1], ARGV[1]
if redis.call('EXISTS', KEYS[2]) == 1 or redis.call('PTTL', index) ~= -1 or not is_set(index) then return end
if redis.call('SCARD', index) > RECOUNT then return end
for _, member in ipairs(redis.call('SMEMBERS', index)) do
  if begins(member, prefix) and redis.call('EXISTS', member) == 0 then redis.call('SREM', index, member) end
end
expire_with_members(index, prefix)
