-- Deletes the record of a user. The caller deletes identities and rows afterwards.
--
-- KEYS  1 user record, 2 the same as other software spells it (only if that differs)
-- ARGV  1 prefix of the tenant, 2 '1' if the caller waits for replicas
-- Returns { how many records there were, the lineage }.
-- uses: latest data_lineage
local lineage = data_lineage()
local records = { KEYS[1] }
if KEYS[2] then
  -- uses: typed
  -- A set there is another user's.
  if (typed(redis.pcall('GETRANGE', KEYS[2], '0', '0')) or '') ~= '' then records[2] = KEYS[2] end
end
local deleted = redis.call('DEL', unpack(records))
if deleted == 0 then
  -- uses: fence
  fence(ARGV[2], ARGV[1])
end
return { deleted, lineage }
