-- Returns the user that an identity leads to. If there is none, or its user is gone, makes a user and links the identity to
-- it, in the same step (guarantees, section 2.3).
--
-- KEYS  1 identity, 2 record of the new user, 3 its set of identities, 4 the identity under the older layout's name of the
--       provider (only if it has one)
-- ARGV  1 prefix of the tenant, 2 '1' if the caller waits for replicas, 3 the new user's record as JSON up to the value of
--       `created_at`, 4 the identity as JSON up to the value of `linked_at`, 5 how many seconds a use isn't noted again,
--       6... what the caller was asked to tell
-- Returns { 'found', user }, 'created', 'unreadable', or 'older' if there is an older identity that has to be copied first,
-- or asks.
-- uses: latest typed listen linked is_user fence
listen(6)
local identity, prefix, durable = KEYS[1], ARGV[1], ARGV[2]
local user, bytes = linked(identity)
local is_good = user and user ~= '' and is_user(prefix, user)
local is_older = KEYS[4] and not is_good and linked(KEYS[4])
if untold then return untold end
if user == '' then return 'unreadable' end
-- A login at an auth server of before, which the broker hasn't copied yet. What can't be read is the copier's to report.
if is_older then
  if is_older == '' then return 'unreadable' end
  if is_user(prefix, is_older) then
    -- A link whose user is gone counts as none. It would stand in the copy's way.
    if user then
      redis.call('DEL', identity)
      -- uses: leave_set
      leave_set(prefix, user, identity)
    end
    return 'older'
  end
end
local now = redis.call('TIME')[1]

if is_good then
  -- Nothing but the number changes. At the end stands the identity's own time, as it does everywhere if there is no other
  -- object that may have such a field. The quotation mark after `{` or `,` begins a name: within a text it had a backslash.
  local before, used, after = string.match(bytes, '^(.*,"last_used_at":)(%d+)(})$')
  if not used and not string.find(bytes, '{.*{') then
    before, used, after = string.match(bytes, '^(.*[{,]%s*"last_used_at"%s*:%s*)([-+.%w]+)(%s*[,}].*)$')
  end
  local ago = used and tonumber(now) - (tonumber(used) or 0)
  -- A time that is still to come is wrong, and would never be noted again.
  local is_due = used and (ago >= tonumber(ARGV[5]) or ago < 0)
  local noted = is_due and redis.pcall('SET', identity, before .. now .. after, 'KEEPTTL')
  if noted and noted.err then
    -- A login doesn't fail because Redis takes no such writes now. A server that isn't the primary takes none at all.
    local is_full = false
    for _, why in ipairs({ 'OOM', 'MISCONF', 'NOREPLICAS' }) do
      is_full = is_full or string.find(noted.err, why, 1, true)
    end
    if not is_full then error(noted.err) end
    noted = nil
  end
  if not noted then fence(durable, prefix) end
  return { 'found', user }
end

-- The new user's id is drawn at random, so that its set is empty.
redis.call('SET', KEYS[2], ARGV[3] .. now .. ',"updated_at":' .. now .. '}')
redis.call('SET', identity, ARGV[4] .. now .. ',"last_used_at":' .. now .. '}')
redis.call('SADD', KEYS[3], identity)
if user then
  -- uses: leave_set
  leave_set(prefix, user, identity)
end
return 'created'
