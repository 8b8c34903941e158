-- Gives a user's index the expiry that it has by the grace period. In it there is none: an index that had one loses
-- it (M7). After it the index lives as long as its longest row, and members whose row is gone are removed (I5), but
-- not from a large index, because the writes that follow remove its dead members little by little.
--
-- KEYS  1 user index, 2 key of the grace period
-- ARGV  1 prefix of the tenant
-- uses: latest is_set is_grace starts_with expire_with_members
local index, prefix = KEYS[1], ARGV[1]
if not is_set(index) then return end
local has_expiry = redis.call('PTTL', index) >= 0
if is_grace(KEYS[2], prefix) then
  if has_expiry then redis.call('PERSIST', index) end
  return
end
if has_expiry or redis.call('SCARD', index) > RECOUNT then return end
for _, member in ipairs(redis.call('SMEMBERS', index)) do
  if starts_with(member, prefix) and redis.call('EXISTS', member) == 0 then redis.call('SREM', index, member) end
end
expire_with_members(index, prefix)
