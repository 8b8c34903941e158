-- Deletes those of the given rows that belong to a user, and those of which that can't be told, each whole (I3).
-- Removes all given keys from the user's index: what stays is another user's. Rows of the older layout,
-- which has one row per session, may be among them.
--
-- KEYS  1 user index, 2 key of the grace period, 3... rows, a few hundred at most
-- ARGV  1 prefix of the tenant, 2 user, 3... what the caller was asked to tell
-- Returns { the number of deleted rows, the lineage }, or asks.
-- uses: latest data_lineage look is_anyones is_grace ensure_local index_remove
listen(3)
local lineage = data_lineage()
local index, prefix, user = KEYS[1], ARGV[1], ARGV[2]
local rows = prefix .. 'upstream:'
-- The user's rows, and the keys of those that a session's index has, by this index.
local own, by_index, indexes = {}, {}, {}
for i = 3, #KEYS do
  local key = KEYS[i]
  local version, of = look(key)
  if version and (of == user or is_anyones(version, of)) then
    own[#own + 1] = key
    local session = string.match(key, '^([^:]*):', #rows + 1)
    local session_index = session and rows .. 'idx:' .. session
    if session_index and by_index[session_index] then
      table.insert(by_index[session_index], key)
    elseif session_index then
      by_index[session_index] = { key }
      indexes[#indexes + 1] = session_index
    end
  end
end
if untold then return untold end
-- Everything that may end the script comes before the first write.
ensure_local(indexes)
local grace = is_grace(KEYS[2], prefix)
if #own > 0 then redis.call('DEL', unpack(own)) end
for _, session_index in ipairs(indexes) do
  -- Its expiry comes below.
  index_remove(session_index, by_index[session_index], prefix, true)
end
-- Mostly nothing is left of the sessions.
if #indexes > 0 and redis.pcall('EXISTS', unpack(indexes)) ~= 0 then
  -- uses: expire_with_members
  for _, session_index in ipairs(indexes) do
    if redis.pcall('PTTL', session_index) == -1 then expire_with_members(session_index, prefix) end
  end
end
index_remove(index, { unpack(KEYS, 3) }, prefix, grace)
return { #own, lineage }
