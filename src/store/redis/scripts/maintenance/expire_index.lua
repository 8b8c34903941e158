-- Sets the expiry of a user's index that has had none since the grace period: the index then lives as long as
-- its longest row. Removes members whose row is gone (I5). Does nothing to a large index, because the writes
-- that follow remove its dead members little by little.
--
-- KEYS  1 user index, 2 key of the grace period
-- ARGV  1 prefix of the tenant
local index, prefix = KEYS[1], ARGV[1]
if redis.call('EXISTS', KEYS[2]) == 1 or redis.call('PTTL', index) ~= -1 or not is_set(index) then return end
if redis.call('SCARD', index) > RECOUNT then return end
for _, member in ipairs(redis.call('SMEMBERS', index)) do
  if starts_with(member, prefix) and redis.call('EXISTS', member) == 0 then redis.call('SREM', index, member) end
end
expire_with_members(index, prefix)
