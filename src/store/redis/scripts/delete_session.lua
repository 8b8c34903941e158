-- Deletes all rows of a session and its index in one step.
--
-- KEYS  1 session index, 2 the mark of the grace period
-- ARGV  1 prefix of the tenant, 2 what the keys of the session's rows begin with
-- Gives the number of rows deleted.
local index, prefix, own = KEYS[1], ARGV[1], ARGV[2]
local grace, deleted = redis.call('EXISTS', KEYS[2]) == 1, 0
for _, member in ipairs(redis.call('SMEMBERS', index)) do
  if begins(member, own) then
    local bytes = read(member)
    if bytes then
      remove(member, bytes, index, prefix, grace)
      deleted = deleted + 1
    else
      redis.call('DEL', member)
    end
  end
end
redis.call('DEL', index)
return deleted
