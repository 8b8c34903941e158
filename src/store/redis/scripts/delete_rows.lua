-- Deletes those of some rows that belong to a user, each whole (I3), and takes all of them out of
-- the user's index. Rows of the older layout, one a session, are among them.
--
-- KEYS  1 user index, 2 the mark of the grace period, 3... rows
-- ARGV  1 prefix of the tenant, 2 user
-- Gives the number of rows deleted.
local index, prefix, user, deleted = KEYS[1], ARGV[1], ARGV[2], 0
local grace = redis.call('EXISTS', KEYS[2]) == 1
local rows = prefix .. 'upstream:'
for i = 3, #KEYS do
  local key = KEYS[i]
  local bytes = read(key)
  if bytes and fields(bytes).user_id == user then
    local session = string.match(string.sub(key, #rows + 1), '^([^:]*):')
    if session then
      remove(key, bytes, rows .. 'idx:' .. session, prefix, grace)
    else
      redis.call('DEL', key)
    end
    deleted = deleted + 1
  end
  redis.call('SREM', index, key)
end
return deleted
