-- Deletes those of the given identities that belong to a user, and those of which that can't be told: nothing leaves
-- the user's set and stays (I3). Removes all given keys from the set.
--
-- KEYS  1 the user's set of identities, 2... identities, a few hundred at most
-- ARGV  1 user, 2... what the caller was asked to tell
-- Returns { the number of deleted identities, the lineage }, or asks.
-- uses: latest data_lineage listen look is_anyones
listen(2)
local lineage = data_lineage()
local own = {}
for i = 2, #KEYS do
  local version, user = look(KEYS[i])
  if version and (user == ARGV[1] or is_anyones(version, user)) then own[#own + 1] = KEYS[i] end
end
if untold then return untold end
if #own > 0 then redis.call('DEL', unpack(own)) end
redis.pcall('SREM', KEYS[1], unpack(KEYS, 2))
return { #own, lineage }
