-- Deletes a row and its members in both indexes, in one step (I2).
--
-- KEYS  1 row, 2 session index, 3 key of the grace period
-- ARGV  1 prefix of the tenant, 2 the version that the row must have, or '', 3 '1' if the caller waits for replicas,
--       4... what the caller was asked to tell
-- Returns 'deleted', 'absent' or 'mismatch', or asks.
listen(4)
local key, prefix, version = KEYS[1], ARGV[1], ARGV[2]
local row = look(key)
if #untold > 1 then return untold end
if not row then
  fence(ARGV[3], prefix)
  redis.call('DEL', key)
  redis.pcall('SREM', KEYS[2], key)
  return 'absent'
end
if version ~= '' and row.version ~= version then return 'mismatch' end
ensure_indexes_local(row, KEYS[2], prefix)
remove(key, row, KEYS[2], prefix, is_grace(KEYS[3], prefix))
return 'deleted'
