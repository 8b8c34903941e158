-- Moves a row of the older layout to where it belongs, or drops it where a newer row is there: in one
-- step, and only while both keys hold what the decision was made on (M1, M2; I1).
--
-- KEYS  1 row of the older layout, 2 row, 3 session index, 4 the mark of the grace period, 5 user index
--       (only with a user), then: other user indexes, which neither key belongs in from now on
-- ARGV  1 prefix of the tenant, 2 SHA-1 of the older row, 3 SHA-1 of the row or '' where there is none,
--       4 row as JSON or '' to drop the older one, 5 '1' with a user, 6 '1' to do it, '' to only look
-- Gives 'done' ('' as argument 6: it could be), 'changed' or 'type': one of the keys holds another type.
local legacy, row, session_index, prefix, json = KEYS[1], KEYS[2], KEYS[3], ARGV[1], ARGV[4]
local others = ARGV[5] == '1' and 6 or 5

local is, expected = holds(row, ARGV[3]), holds(legacy, ARGV[2])
for i = 3, #KEYS do
  if i ~= 4 and not is_set(KEYS[i]) then return 'type' end
end
if is == nil then return 'type' end
if not is or not expected then return 'changed' end
if ARGV[6] == '' then return 'done' end

local grace = redis.call('EXISTS', KEYS[4]) == 1
if json == '' then
  redis.call('DEL', legacy)
else
  local ttl = redis.call('PTTL', legacy)
  -- The first write is the one that Redis refuses when it is out of memory; then nothing is written.
  if ttl == -1 then
    ttl = 0
    redis.call('SET', row, json)
  else
    ttl = math.max(ttl, 1)
    redis.call('SET', row, json, 'PX', ttl)
  end
  redis.call('DEL', legacy)
  index_add(session_index, row, ttl, prefix, false)
  if others == 6 then index_add(KEYS[5], row, ttl, prefix, grace) end
  for i = others, #KEYS do index_remove(KEYS[i], row, prefix, grace) end
end
for i = 5, #KEYS do index_remove(KEYS[i], legacy, prefix, grace) end
return 'done'
