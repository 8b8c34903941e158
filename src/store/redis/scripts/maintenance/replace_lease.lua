-- Takes a lease whose key holds something that can't be a broker's, whoever planted it: a broker's lease is a string that
-- ends, and soon.
--
-- KEYS  1 lease
-- ARGV  1 holder, 2 ms that the lease lives from now on, 3 ms that the lease of any broker lives at most
-- Returns '' if the lease was free, 'held ' and the ms that are left of it if it may be another broker's, or else what was in its
-- place.
-- uses: latest
local lease, ttl, longest = KEYS[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local kind, left = redis.call('TYPE', lease).ok, redis.call('PTTL', lease)
local found = ''
if kind ~= 'none' then
  if kind ~= 'string' then
    found = 'a value of the type ' .. kind
  elseif left == -1 then
    found = 'a value without an end'
  elseif left > longest then
    found = 'a value that ends in ' .. math.floor(left / 1000) .. ' s'
  else
    return 'held ' .. math.max(left, 0)
  end
end
redis.call('SET', lease, ARGV[1], 'PX', ttl)
return found
