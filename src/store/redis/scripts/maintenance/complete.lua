-- Notes that the migration is complete, and whether the grace period is open, in one step (M7). Does so only while the
-- lease has the mark that its holder set after the last older row was migrated: this data then holds all that was
-- migrated, even if another server took over since.
--
-- KEYS  1 lease, 2 note about the migration, 3 key of the grace period
-- ARGV  1 value of the lease, with its mark, 2 note as JSON, 3 what becomes of the grace period: 'over', '' to leave it
--       as it is, or since when it is open, if it has no mark yet
-- Returns 1, or 0 if the lease has another value.
-- uses: latest typed
if typed(redis.pcall('GET', KEYS[1])) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[2], ARGV[2])
if ARGV[3] == 'over' then
  redis.call('DEL', KEYS[3])
elseif ARGV[3] ~= '' then
  redis.call('SET', KEYS[3], ARGV[3], 'NX')
end
return 1
