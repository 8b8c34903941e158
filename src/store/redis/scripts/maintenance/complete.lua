-- Notes that the migration is complete, and ends the grace period if that is asked for, in one step (M7). Does so
-- only while the lease has the mark that its holder set after the last older row was migrated: this data then holds
-- all that was migrated, even if another server took over since.
--
-- KEYS  1 lease, 2 note about the migration, 3 key of the grace period
-- ARGV  1 value of the lease, with its mark, 2 note as JSON, 3 '1' to end the grace period, '' to leave it
-- Returns 1, or 0 if the lease has another value.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[2], ARGV[2])
if ARGV[3] == '1' then redis.call('DEL', KEYS[3]) end
return 1
