-- Deletes those of the given identities that belong to a user. Removes all given keys from the user's set.
--
-- KEYS  1 the user's set of identities, 2... identities
-- ARGV  1 user
-- Returns the number of deleted identities.
local deleted = 0
for i = 2, #KEYS do
  local bytes = read(KEYS[i])
  if bytes and fields(bytes).user_id == ARGV[1] then
    redis.call('DEL', KEYS[i])
    deleted = deleted + 1
  end
  redis.pcall('SREM', KEYS[1], KEYS[i])
end
return deleted
