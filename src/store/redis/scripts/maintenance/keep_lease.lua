-- Gives a lease a new end, or gives it up; nobody else's. One that ran out, and that nobody took, is
-- taken again.
--
-- KEYS  1 lease
-- ARGV  1 holder, 2 ms that it lives from now on, 0 to give it up
-- Gives 1, or 0 where somebody else holds it.
local holder, ttl = redis.call('GET', KEYS[1]), tonumber(ARGV[2])
if holder and holder ~= ARGV[1] then return 0 end
if ttl > 0 then
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ttl)
elseif holder then
  redis.call('DEL', KEYS[1])
end
return 1
