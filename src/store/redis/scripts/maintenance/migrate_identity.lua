-- Copies an identity of the older layout to its provider's logical name, unless an identity is already there,
-- and adds both to the user's set, in one step (M4). The older identity stays.
--
-- KEYS  1 identity of the older layout, 2 identity, 3 the user's set of identities
-- ARGV  1 SHA-1 of the older identity, 2 identity as JSON, 3 '1' to do it, '' to only look
-- Returns 'done', 'changed', or 'type' if one of the keys holds another type. If argument 3 is '', 'done'
-- means that it could be done.
-- uses: latest holds is_set
local legacy, identity, set = KEYS[1], KEYS[2], KEYS[3]
local is_free, is_unchanged = holds(identity, ''), holds(legacy, ARGV[1])
if is_free == nil or not is_set(set) then return 'type' end
if not is_free or not is_unchanged then return 'changed' end
if ARGV[3] == '' then return 'done' end

local ttl = redis.call('PTTL', legacy)
if ttl == -1 then
  redis.call('SET', identity, ARGV[2])
else
  redis.call('SET', identity, ARGV[2], 'PX', math.max(ttl, 1))
end
redis.call('SADD', set, identity, legacy)
return 'done'
