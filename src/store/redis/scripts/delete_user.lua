-- Deletes a user record. The caller has deleted everything else of the user before.
--
-- KEYS  1 user record
-- ARGV  1 prefix of the tenant, 2 '1' if the caller waits for replicas
-- Returns 1 if there was a record, or else 0.
if redis.call('DEL', KEYS[1]) == 1 then return 1 end
fence(ARGV[2], ARGV[1])
return 0
