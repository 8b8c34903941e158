-- Deletes those of the given identities that belong to a user, and those of which that can't be told: nothing leaves
-- the user's set and stays (I3). Removes all given keys from the set.
--
-- KEYS  1 the user's set of identities, 2... identities
-- ARGV  1 user, 2... what the caller was asked to tell
-- Returns { the number of deleted identities, the lineage }, or asks.
listen(2)
local lineage = data_lineage()
local own, deleted = {}, 0
for i = 2, #KEYS do
  local identity = look(KEYS[i])
  own[i] = identity and (identity.user == ARGV[1] or is_anyones(identity))
end
if #untold > 1 then return untold end
for i = 2, #KEYS do
  if own[i] then
    redis.call('DEL', KEYS[i])
    deleted = deleted + 1
  end
  redis.pcall('SREM', KEYS[1], KEYS[i])
end
return { deleted, lineage }
