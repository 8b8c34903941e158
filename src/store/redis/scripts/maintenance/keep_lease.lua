-- Renews, marks or releases a lease that this holder has. If the lease ran out and no other holder took it, it is
-- taken again, without its mark.
--
-- KEYS  1 lease
-- ARGV  1 holder, 2 ms that the lease lives from now on, 0 to release it, 3 the holder and a mark, or '' to keep the
--       mark
-- Returns 1, or 0 if another holder has the lease, or its key holds something else than a string.
-- uses: latest starts_with typed
local value, holder, ttl, mark = typed(redis.pcall('GET', KEYS[1])), ARGV[1], tonumber(ARGV[2]), ARGV[3]
if value == nil or value and not starts_with(value, holder) then return 0 end
if ttl <= 0 then
  if value then redis.call('DEL', KEYS[1]) end
elseif mark ~= '' then
  redis.call('SET', KEYS[1], mark, 'PX', ttl)
elseif value then
  redis.call('PEXPIRE', KEYS[1], ttl)
else
  redis.call('SET', KEYS[1], holder, 'PX', ttl)
end
return 1
