-- Deletes those of the given rows that belong to a user, and those of which that can't be told, each whole (I3).
-- Removes all given keys from the user's index: what stays is another user's. Rows of the older layout,
-- which has one row per session, may be among them.
--
-- KEYS  1 user index, 2 key of the grace period, 3... rows, a few hundred at most
-- ARGV  1 prefix of the tenant, 2 user, 3... what the caller was asked to tell
-- Returns { the number of deleted rows, the lineage }, or asks.
-- uses: latest data_lineage listen look is_anyones is_grace ensure_local index_remove record_of
listen(3)
local lineage = data_lineage()
local index, prefix, user = KEYS[1], ARGV[1], ARGV[2]
local rows = prefix .. 'upstream:'
-- The user's rows, and those that a session's index has, by this index: mostly one, and otherwise a list.
local own, by_index, indexes, records = {}, {}, {}, {}
local first = #rows + 1
for i = 3, #KEYS do
  local key = KEYS[i]
  local version, of = look(key)
  if version and (of == user or is_anyones(version, of)) then
    own[#own + 1] = key
    records[#own] = record_of(key, prefix)
    local colon = string.find(key, ':', first, true)
    if colon then
      local session_index = rows .. 'idx:' .. string.sub(key, first, colon - 1)
      local others = by_index[session_index]
      if not others then
        by_index[session_index] = key
        indexes[#indexes + 1] = session_index
      elseif type(others) == 'string' then
        by_index[session_index] = { others, key }
      else
        others[#others + 1] = key
      end
    end
  end
end
if untold then return untold end
-- Everything that may end the script comes before the first write.
ensure_local(indexes)
local grace = is_grace(KEYS[2], prefix)
local has_records = #own > 0 and redis.call('EXISTS', unpack(records)) > 0
if #own > 0 then redis.call('DEL', unpack(own)) end
for _, session_index in ipairs(indexes) do
  -- Its expiry comes below. If it isn't a set, it has no member to remove.
  local members = by_index[session_index]
  if type(members) == 'string' then
    redis.pcall('SREM', session_index, members)
  else
    redis.pcall('SREM', session_index, unpack(members))
  end
end
-- Mostly nothing is left of the sessions.
if #indexes > 0 and redis.pcall('EXISTS', unpack(indexes)) ~= 0 then
  -- uses: expire_with_members
  for _, session_index in ipairs(indexes) do
    if redis.pcall('PTTL', session_index) == -1 then expire_with_members(session_index, prefix) end
  end
end
index_remove(index, { unpack(KEYS, 3) }, prefix, grace)
if has_records then
  -- uses: keep_record
  for _, record in ipairs(records) do keep_record(record) end
end
return { #own, lineage }
