-- Deletes all rows of a session in one step. What `GetAll` doesn't see stays, also in the index (I10).
--
-- KEYS  1 session index, 2 key of the grace period
-- ARGV  1 prefix of the tenant, 2 what the keys of the session's rows begin with, 3 '1' if the caller waits for
--       replicas, 4... what the caller was asked to tell
-- Returns { number of deleted rows, number of members that are not rows of this session }, or asks.
listen(4)
local index, prefix, own = KEYS[1], ARGV[1], ARGV[2]
local grace, rows, deleted, foreign = is_grace(KEYS[2], prefix), {}, 0, 0
-- Everything that may end the script comes before the first write.
for _, member in ipairs(redis.call('SMEMBERS', index)) do
  if is_row_of(member, own) then
    local row = look(member)
    if row then ensure_indexes_local(row, index, prefix) end
    rows[member] = row or false
  else
    foreign = foreign + 1
  end
end
if #untold > 1 then return untold end
if not next(rows) then fence(ARGV[3], prefix) end
for member, row in pairs(rows) do
  if row then
    remove(member, row, index, prefix, grace)
    deleted = deleted + 1
  else
    redis.call('DEL', member)
    redis.call('SREM', index, member)
  end
end
return { deleted, foreign }
