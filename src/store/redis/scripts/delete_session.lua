-- Deletes all rows of a session and its index in one step.
--
-- KEYS  1 session index, 2 key of the grace period
-- ARGV  1 prefix of the tenant, 2 what the keys of the session's rows begin with, 3 '1' if the caller waits for
--       replicas
-- Returns the number of deleted rows.
local index, prefix, own = KEYS[1], ARGV[1], ARGV[2]
local grace, rows, deleted = redis.call('EXISTS', KEYS[2]) == 1, {}, 0
-- Everything that may end the script comes before the first write.
for _, member in ipairs(redis.call('SMEMBERS', index)) do
  if starts_with(member, own) then
    local bytes = read(member)
    if bytes then ensure_indexes_local(bytes, index, prefix) end
    rows[member] = bytes
  end
end
if redis.call('EXISTS', index) == 0 then fence(ARGV[3], prefix) end
for member, bytes in pairs(rows) do
  if bytes then
    remove(member, bytes, index, prefix, grace)
    deleted = deleted + 1
  else
    redis.call('DEL', member)
  end
end
redis.call('DEL', index)
return deleted
