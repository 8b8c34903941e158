-- Deletes a row and its members in both indexes, in one step (I2).
--
-- KEYS  1 row, 2 session index, 3 key of the grace period
-- ARGV  1 prefix of the tenant, 2 the version that the row must have, or '', 3 '1' if the caller waits for replicas,
--       4... what the caller was asked to tell
-- Returns 'deleted', 'absent' or 'mismatch', or asks.
-- uses: latest listen look is_grace user_index ensure_local index_remove keep_record record_of
listen(4)
local key, prefix, wanted = KEYS[1], ARGV[1], ARGV[2]
local version, user = look(key)
if untold then return untold end
if not version then
  -- uses: fence
  fence(ARGV[3], prefix)
  redis.call('DEL', key)
  redis.pcall('SREM', KEYS[2], key)
  return 'absent'
end
if wanted ~= '' and version ~= wanted then return 'mismatch' end
local index = user_index(prefix, user)
-- Everything that may end the script comes before the first write.
ensure_local({ index })
local grace = index and is_grace(KEYS[3], prefix)
redis.call('DEL', key)
index_remove(KEYS[2], { key }, prefix, false)
if index then index_remove(index, { key }, prefix, grace) end
-- The record isn't among the keys: a slot that is moving would keep the row from being deleted if there is none.
keep_record(record_of(key, prefix))
return 'deleted'
