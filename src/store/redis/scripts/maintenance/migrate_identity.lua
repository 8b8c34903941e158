-- Copies identities of the older layout to their providers' logical names, unless an identity is already there, and adds
-- both to the user's set, each in one step (M4). The older identities stay.
--
-- KEYS  of each: identity of the older layout, identity, the user's set of identities
-- ARGV  1 '1' to do it, '' to only look, then of each: SHA-1 of the older identity, identity as JSON
-- Returns of each 'done', 'changed', or 'type' if one of the keys holds another type. If argument 1 is '', 'done'
-- means that it could be done.
-- uses: latest holds is_set
local apply, answers = ARGV[1] == '1', {}

-- Whatever may end the script comes before the first write. The identities before it are done then.
local function settle(legacy, identity, set, sha, json)
  local is_free, is_unchanged = holds(identity, ''), holds(legacy, sha)
  if is_free == nil or not is_set(set) then return 'type' end
  if not is_free or not is_unchanged then return 'changed' end
  if not apply then return 'done' end

  local ttl = redis.call('PTTL', legacy)
  if ttl == -1 then
    redis.call('SET', identity, json)
  else
    redis.call('SET', identity, json, 'PX', math.max(ttl, 1))
  end
  redis.call('SADD', set, identity, legacy)
  return 'done'
end

for n = 1, #KEYS / 3 do
  local legacy, identity, set = unpack(KEYS, 3 * n - 2, 3 * n)
  answers[n] = settle(legacy, identity, set, ARGV[2 * n], ARGV[2 * n + 1])
end
return answers
