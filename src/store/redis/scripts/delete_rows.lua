-- Deletes those of the given rows that belong to a user, and those of which that can't be told, each whole (I3).
-- Removes all given keys from the user's index: what stays is another user's. Rows of the older layout,
-- which has one row per session, may be among them.
--
-- KEYS  1 user index, 2 key of the grace period, 3... rows
-- ARGV  1 prefix of the tenant, 2 user, 3... what the caller was asked to tell
-- Returns { the number of deleted rows, the lineage }, or asks.
listen(3)
local lineage = data_lineage()
local index, prefix, user = KEYS[1], ARGV[1], ARGV[2]
local grace = is_grace(KEYS[2], prefix)
local rows, found = prefix .. 'upstream:', {}
-- Everything that may end the script comes before the first write.
for i = 3, #KEYS do
  local row = look(KEYS[i])
  if row and (row.user == user or is_anyones(row)) then
    local session = string.match(string.sub(KEYS[i], #rows + 1), '^([^:]*):')
    local session_index = session and rows .. 'idx:' .. session
    if session_index then ensure_indexes_local(row, session_index, prefix) end
    found[#found + 1] = { KEYS[i], row, session_index }
  end
end
if #untold > 1 then return untold end
for _, own in ipairs(found) do
  local key, row, session_index = unpack(own)
  if session_index then
    remove(key, row, session_index, prefix, grace)
  else
    redis.call('DEL', key)
  end
end
for i = 3, #KEYS do redis.pcall('SREM', index, KEYS[i]) end
return { #found, lineage }
