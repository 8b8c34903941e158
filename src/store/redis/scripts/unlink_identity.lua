-- Removes an identity, together with what the older layout has of it: a migration would copy that again.
--
-- KEYS  1 identity, 2 the identity under the older layout's name of the provider (only if it has one)
-- ARGV  1 prefix of the tenant, 2 '1' if the caller waits for replicas, 3 the user that it has to lead to, or '',
--       4 '1' to only look, 5... what the caller was asked to tell
-- Returns { 'unlinked' or 'found', user }, 'absent' or 'unreadable', or asks.
-- uses: latest typed listen linked is_user leave_set fence
listen(5)
local prefix = ARGV[1]
local owner = linked(KEYS[1])
local older = KEYS[2] and linked(KEYS[2])
if untold then return untold end
-- A link whose user is gone counts as none beside an older one that leads to somebody.
local is_good = owner and (not older or owner == '' or older == '' or is_user(prefix, owner) or not is_user(prefix, older))
local leads_to = is_good and owner or older
if leads_to == '' or (older == '' and ARGV[4] ~= '1') then return 'unreadable' end
if not leads_to or (ARGV[3] ~= '' and leads_to ~= ARGV[3]) then
  fence(ARGV[2], prefix)
  return 'absent'
end
if ARGV[4] == '1' then
  fence(ARGV[2], prefix)
  return { 'found', leads_to }
end
-- The older copy goes also if it leads to somebody else: the next login would find that user there.
redis.call('DEL', unpack(KEYS))
if owner then leave_set(prefix, owner, KEYS[1]) end
if older then leave_set(prefix, older, KEYS[2]) end
return { 'unlinked', leads_to }
