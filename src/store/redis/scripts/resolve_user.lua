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
local is_older = not user and KEYS[4] and linked(KEYS[4])
if untold then return untold end
if user == '' then return 'unreadable' end
-- A login at an auth server of before, which the broker hasn't copied yet. What can't be read is the copier's to report.
if is_older then
  if is_older == '' then return 'unreadable' end
  if is_user(prefix, is_older) then return 'older' end
end
local now = redis.call('TIME')[1]

if user and is_user(prefix, user) then
  -- Nothing but the digits changes. At the end stands the identity's own time, as it does everywhere if there is no other
  -- object that may have such a field. The quotation mark after `{` or `,` begins a name: within a text it had a backslash.
  local before, used, after = string.match(bytes, '^(.*,"last_used_at":)(%d+)(})$')
  if not used and not string.find(bytes, '{.*{') then
    before, used, after = string.match(bytes, '^(.*[{,]%s*"last_used_at"%s*:%s*)(%d+)(%s*[,}].*)$')
  end
  if used and tonumber(now) - tonumber(used) >= tonumber(ARGV[5]) then
    redis.call('SET', identity, before .. now .. after, 'KEEPTTL')
  else
    fence(durable, prefix)
  end
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
