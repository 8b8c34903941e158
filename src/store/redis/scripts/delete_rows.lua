-- Deletes those of the given rows that belong to a user, each whole (I3). Removes all given keys from the
-- user's index. Rows of the older layout, which has one row per session, may be among them.
--
-- KEYS  1 user index, 2 key of the grace period, 3... rows
-- ARGV  1 prefix of the tenant, 2 user
-- Returns the number of deleted rows.
local index, prefix, user = KEYS[1], ARGV[1], ARGV[2]
local grace = redis.call('EXISTS', KEYS[2]) == 1
local rows, found = prefix .. 'upstream:', {}
-- Everything that may end the script comes before the first write.
for i = 3, #KEYS do
  local bytes = read(KEYS[i])
  if bytes and fields(bytes).user_id == user then
    local session = string.match(string.sub(KEYS[i], #rows + 1), '^([^:]*):')
    local session_index = session and rows .. 'idx:' .. session
    if session_index then ensure_indexes_local(bytes, session_index, prefix) end
    found[#found + 1] = { KEYS[i], bytes, session_index }
  end
end
for _, row in ipairs(found) do
  local key, bytes, session_index = unpack(row)
  if session_index then
    remove(key, bytes, session_index, prefix, grace)
  else
    redis.call('DEL', key)
  end
end
for i = 3, #KEYS do redis.pcall('SREM', index, KEYS[i]) end
return #found
