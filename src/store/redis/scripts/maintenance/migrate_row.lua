-- Moves a row of the older layout to its new key, or drops it if the new key holds a newer row, in one step.
-- Does so only while both keys hold what the decision was based on (M1, M2; I1).
--
-- KEYS  1 row of the older layout, 2 row, 3 session index, 4 key of the grace period, 5 user index (only with a
--       user), then: other user indexes, which must contain neither key from now on
-- ARGV  1 prefix of the tenant, 2 SHA-1 of the older row, 3 SHA-1 of the row, or '' if there is none,
--       4 row as JSON, or '' to drop the older one, 5 '1' with a user, 6 '1' to do it, '' to only look
-- Returns 'done', 'changed', or 'type' if one of the keys holds another type. If argument 6 is '', 'done'
-- means that it could be done.
-- uses: latest holds is_set is_grace index_add index_remove
local legacy, row, session_index, prefix, json = KEYS[1], KEYS[2], KEYS[3], ARGV[1], ARGV[4]
local first_other = ARGV[5] == '1' and 6 or 5

local is_as_decided, is_unchanged = holds(row, ARGV[3]), holds(legacy, ARGV[2])
for i = 3, #KEYS do
  if i ~= 4 and not is_set(KEYS[i]) then return 'type' end
end
if is_as_decided == nil then return 'type' end
if not is_as_decided or not is_unchanged then return 'changed' end
if ARGV[6] == '' then return 'done' end

local grace = is_grace(KEYS[4], prefix)
if json == '' then
  redis.call('DEL', legacy)
else
  local ttl = redis.call('PTTL', legacy)
  -- This is the write that Redis refuses when it is out of memory. It comes first, so that nothing is written
  -- then.
  if ttl == -1 then
    ttl = '0'
    redis.call('SET', row, json)
  else
    ttl = string.format('%.0f', math.max(ttl, 1))
    redis.call('SET', row, json, 'PX', ttl)
  end
  redis.call('DEL', legacy)
  index_add(session_index, row, ttl, prefix, false)
  if first_other == 6 then index_add(KEYS[5], row, ttl, prefix, grace) end
  for i = first_other, #KEYS do index_remove(KEYS[i], { row }, prefix, grace) end
end
for i = 5, #KEYS do index_remove(KEYS[i], { legacy }, prefix, grace) end
return 'done'
