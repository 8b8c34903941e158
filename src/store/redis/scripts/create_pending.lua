-- Keeps a pending authorization, unless its state is taken or too much is waiting, in one step (guarantees, section 2.4).
--
-- KEYS  1 pending authorization, 2 those of its client, 3 those of the tenant: sorted sets of keys by when they expire, 4 how
--       large those of the client are, 5 those of the tenant
-- ARGV  1 prefix of the tenant, 2 '1' if the caller waits for replicas, 3 the authorization as JSON, 4 its id, 5 ms that it
--       is kept, 6 how many of the client may wait, 7 how many of the tenant, 8 how many bytes of the client, 9 of the tenant
-- Returns 'created', 'exists', or whose limit of what is reached: 'client', 'tenant', 'client_bytes' or 'tenant_bytes'. Also
-- returns 'created' if this very one is kept already.
-- uses: latest typed sizes_in fence
local key, ttl = KEYS[1], tonumber(ARGV[5])
local held = typed(redis.pcall('GETRANGE', key, '0', '44'))
if held == '{"broker":"' .. ARGV[4] .. '",' then
  fence(ARGV[2], ARGV[1])
  return 'created'
end
if held ~= '' or redis.call('EXISTS', key) == 1 then return 'exists' end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local after = string.format('(%.0f', now)
-- Either command fails if the key isn't a sorted set. Nothing has been written yet.
if redis.call('ZCOUNT', KEYS[2], after, '+inf') >= tonumber(ARGV[6]) then return 'client' end
if redis.call('ZCOUNT', KEYS[3], after, '+inf') >= tonumber(ARGV[7]) then return 'tenant' end
local size = size_of(key, #ARGV[3])
local of_client, bytes_of_client = sizes_in(KEYS[4], now)
local of_tenant, bytes_of_tenant = sizes_in(KEYS[5], now)
if bytes_of_client + size > tonumber(ARGV[8]) then return 'client_bytes' end
if bytes_of_tenant + size > tonumber(ARGV[9]) then return 'tenant_bytes' end

redis.call('SET', key, ARGV[3], 'PX', ttl)
for i = 2, 3 do
  local set = KEYS[i]
  -- A few at a time, so that no call has to remove all that a flood left behind.
  local expired = redis.call('ZRANGEBYSCORE', set, '-inf', string.format('%.0f', now), 'LIMIT', 0, 16)
  if #expired > 0 then redis.call('ZREM', set, unpack(expired)) end
  redis.call('ZADD', set, string.format('%.0f', now + ttl), key)
  if redis.call('PTTL', set) < ttl then redis.call('PEXPIRE', set, ttl) end
end
keep_sizes(KEYS[4], of_client, now, now + ttl, size)
keep_sizes(KEYS[5], of_tenant, now, now + ttl, size)
return 'created'
