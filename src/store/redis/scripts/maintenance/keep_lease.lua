-- Renews or releases a lease that this holder has. If the lease ran out and no other holder took it, it is
-- taken again.
--
-- KEYS  1 lease
-- ARGV  1 holder, 2 ms that the lease lives from now on, 0 to release it
-- Returns 1, or 0 if another holder has the lease.
local holder, ttl = redis.call('GET', KEYS[1]), tonumber(ARGV[2])
if holder and holder ~= ARGV[1] then return 0 end
if ttl > 0 then
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ttl)
elseif holder then
  redis.call('DEL', KEYS[1])
end
return 1
