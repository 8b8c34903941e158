-- Takes a pending authorization, once (guarantees, section 2.4). For a while its key says who took it, so that a taker whose
-- answer was lost can call again.
--
-- KEYS  1 pending authorization, 2 those of its client, 3 those of the tenant
-- ARGV  1 prefix of the tenant, 2 '1' if the caller waits for replicas, 3 id of the authorization, 4 taker, 5 ms for which
--       the key says who took it, at most
-- Returns 1 if the taker has it, or else 0.
-- uses: latest typed fence
local key = KEYS[1]
local taken = '{"taken":"' .. ARGV[4] .. '"}'
local held = typed(redis.pcall('GETRANGE', key, '0', '44'))
if held == taken then
  fence(ARGV[2], ARGV[1])
  return 1
end
if held ~= '{"broker":"' .. ARGV[3] .. '",' then return 0 end
local left = redis.call('PTTL', key)
local most = tonumber(ARGV[5])
if left < 0 or left > most then left = most end
redis.call('SET', key, taken, 'PX', math.max(left, 1))
redis.pcall('ZREM', KEYS[2], key)
redis.pcall('ZREM', KEYS[3], key)
return 1
