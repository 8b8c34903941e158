-- Writes a whole row if its conditions hold: the row, the session index and the user index in one step (I1,
-- I2).
--
-- KEYS  1 row, 2 session index, 3 key of the grace period, 4 user index (only with a user), last: the source row
--       (only with a source version)
-- ARGV  1 prefix of the tenant, 2 row as JSON, 3 ms that it is kept, 0 for ever, 4 condition: 'always', 'absent' or
--       a version, 5 source version or '', 6 how many rows the session may have, 7 '1' with a user, 8 version of the
--       row, 9 '1' if the caller waits for replicas, 10... what the caller was asked to tell
-- Returns 'written', 'exists', 'mismatch', 'source' or 'full', or asks. Unless the condition is 'always', also returns
-- 'written' if the key already holds this version, so that a caller whose answer was lost can call again.
listen(10)
local key, session_index, prefix = KEYS[1], KEYS[2], ARGV[1]
local ttl, condition, source, most = tonumber(ARGV[3]), ARGV[4], ARGV[5], tonumber(ARGV[6])
local index = ARGV[7] == '1' and KEYS[4] or nil

local old, source_row = look(key), source ~= '' and look(KEYS[#KEYS])
if #untold > 1 then return untold end
if condition ~= 'always' and old and old.version == ARGV[8] then
  fence(ARGV[9], prefix)
  return 'written'
end
if condition == 'absent' then
  if old then return 'exists' end
elseif condition ~= 'always' then
  if not old or old.version ~= condition then return 'mismatch' end
end
if source ~= '' and not (source_row and source_row.version == source) then return 'source' end
-- SCARD fails if an index isn't a set. Nothing has been written yet.
local rows = redis.call('SCARD', session_index)
if index then redis.call('SCARD', index) end
if not old and rows >= most then
  local own, alive = string.sub(key, 1, #key - #string.match(key, '[^:]*$')), 0
  for _, member in ipairs(redis.call('SMEMBERS', session_index)) do
    if is_row_of(member, own) and exists(member) then alive = alive + 1 end
  end
  if #untold > 1 then return untold end
  if alive >= most then return 'full' end
end

local old_index = old and user_index(prefix, old)
if old_index and old_index ~= index then ensure_local(old_index) end
local grace = is_grace(KEYS[3], prefix)

-- This is the write that Redis refuses when it is out of memory. It comes first, so that nothing is written
-- then.
if ttl == 0 then
  redis.call('SET', key, ARGV[2])
else
  redis.call('SET', key, ARGV[2], 'PX', ttl)
end
index_add(session_index, key, ttl, prefix, false)
prune(session_index, prefix)
if old_index and old_index ~= index then index_remove(old_index, key, prefix, grace) end
if index then
  index_add(index, key, ttl, prefix, grace)
  prune(index, prefix)
end
return 'written'
