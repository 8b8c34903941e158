-- Deletes a user record. The caller has deleted everything else of the user before.
--
-- KEYS  1 user record
-- ARGV  1 prefix of the tenant, 2 '1' if the caller waits for replicas
-- Returns { 1 if there was a record or else 0, the lineage }.
-- uses: latest data_lineage
local lineage = data_lineage()
local deleted = redis.call('DEL', KEYS[1])
if deleted == 0 then
  -- uses: fence
  fence(ARGV[2], ARGV[1])
end
return { deleted, lineage }
