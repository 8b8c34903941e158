-- Copies an identity of the older layout to its provider's logical name, where there is none yet, and
-- puts both into the user's set: in one step (M4). The older one stays.
--
-- KEYS  1 identity of the older layout, 2 identity, 3 the user's set of identities
-- ARGV  1 SHA-1 of the older identity, 2 identity as JSON, 3 '1' to do it, '' to only look
-- Gives 'done' ('' as argument 3: it could be), 'changed' or 'type': one of the keys holds another type.
local legacy, identity, set = KEYS[1], KEYS[2], KEYS[3]
local is, expected = holds(identity, ''), holds(legacy, ARGV[1])
if is == nil or not is_set(set) then return 'type' end
if not is or not expected then return 'changed' end
if ARGV[3] == '' then return 'done' end

local ttl = redis.call('PTTL', legacy)
if ttl == -1 then
  redis.call('SET', identity, ARGV[2])
else
  redis.call('SET', identity, ARGV[2], 'PX', math.max(ttl, 1))
end
redis.call('SADD', set, identity, legacy)
return 'done'
