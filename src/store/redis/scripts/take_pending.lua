-- Takes a pending authorization, once (guarantees, section 2.4). For a while its key says who took it, so that a taker whose
-- answer was lost can call again.
--
-- KEYS  1 pending authorization, 2 those of its client, 3 those of the tenant, 4 how large those of the client are, 5 those of
--       the tenant
-- ARGV  1 prefix of the tenant, 2 '1' if the caller waits for replicas, 3 id of the authorization, 4 taker, 5 ms for which
--       the key says who took it, at most
-- Returns 1 if the taker has it, or else 0.
-- uses: latest typed sizes_in fence
local key = KEYS[1]
local taken = '{"taken":"' .. ARGV[4] .. '"}'
local held = typed(redis.pcall('GETRANGE', key, '0', '44'))
if held == taken then
  fence(ARGV[2], ARGV[1])
  return 1
end
if held ~= '{"broker":"' .. ARGV[3] .. '",' then return 0 end
local waits = redis.call('PTTL', key)
local left, most = waits, tonumber(ARGV[5])
if left < 0 or left > most then left = most end
local size = size_of(key, redis.call('STRLEN', key))
-- A script that has deleted something may write also if Redis is out of memory. A SET alone may not.
redis.call('DEL', key)
redis.call('SET', key, taken, 'PX', math.max(left, 1))
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
for i = 2, 3 do
  -- What counts it may be damaged: that is no reason to give it to nobody.
  redis.pcall('ZREM', KEYS[i], key)
  if waits > 0 and typed(redis.pcall('STRLEN', KEYS[i + 2])) then
    local by_minute = sizes_in(KEYS[i + 2], now)
    keep_sizes(KEYS[i + 2], by_minute, now, now + waits, -size)
  end
end
return 1
