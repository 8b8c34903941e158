-- Deletes a user record, after all that belongs to the user.
--
-- KEYS  1 user record
-- ARGV  1 prefix of the tenant, 2 '1' where replicas are waited for
-- Gives 1 if there was one, else 0.
if redis.call('DEL', KEYS[1]) == 1 then return 1 end
fence(ARGV[2], ARGV[1])
return 0
