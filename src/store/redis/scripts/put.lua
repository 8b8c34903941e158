-- Writes a whole row if its conditions hold: the row, the session index and the user index in one step (I1,
-- I2).
--
-- KEYS  1 row, 2 session index, 3 key of the grace period, 4 record, 5 user index (only with a user), last: the source
--       row (only with a source version)
-- ARGV  1 prefix of the tenant, 2 row as JSON, 3 ms that it is kept, 0 for ever, 4 condition: 'always', 'absent' or
--       a version, 5 source version or '', 6 how many rows the session may have, 7 user, or '', 8 version of the
--       row, 9 '1' if the caller waits for replicas, 10 the refresh token as records have it, or '', 11 '1' if the row is
--       sealed, 12... what the caller was asked to tell
-- Returns 'written', 'exists', 'mismatch', 'source', 'full', 'redeemed' or 'grace', or asks. Unless the condition is 'always', also returns
-- 'written' if the key already holds this version, so that a caller whose answer was lost can call again.
-- uses: latest typed listen look is_grace outlive
listen(12)
local key, session_index, record, prefix = KEYS[1], KEYS[2], KEYS[4], ARGV[1]
local ttl, condition, source, user, version = ARGV[3], ARGV[4], ARGV[5], ARGV[7], ARGV[8]
local index = user ~= '' and KEYS[5]

local old, old_user = look(key)
local source_version = source ~= '' and look(KEYS[#KEYS])
if untold then return untold end
if condition ~= 'always' then
  if old == version then
    -- uses: fence
    fence(ARGV[9], prefix)
    return 'written'
  end
  if condition == 'absent' then
    if old then return 'exists' end
  elseif old ~= condition then
    return 'mismatch'
  end
end
if source ~= '' and source_version ~= source then return 'source' end

-- What an index holds: 1 or 0 of a row that is replaced, else how many rows. Either command fails if the index isn't
-- a set. Nothing has been written yet.
local rows, users_rows
if old then
  rows = redis.call('SISMEMBER', session_index, key)
  users_rows = index and redis.call('SISMEMBER', index, key)
else
  rows = redis.call('SCARD', session_index)
  users_rows = index and redis.call('SCARD', index)
end
if not old and rows >= tonumber(ARGV[6]) then
  -- uses: is_row_of exists
  local own, alive = string.sub(key, 1, #key - #string.match(key, '[^:]*$')), 0
  for _, other in ipairs(redis.call('SMEMBERS', session_index)) do
    if is_row_of(other, own) and exists(other) then alive = alive + 1 end
  end
  if untold then return untold end
  if alive >= tonumber(ARGV[6]) then return 'full' end
end

local old_index
if old and old_user ~= user then
  -- uses: user_index ensure_local
  old_index = user_index(prefix, old_user)
  ensure_local({ old_index })
end
local grace, has_record = is_grace(KEYS[3], prefix, record)
-- Other software would take an envelope for a row without tokens.
if grace and ARGV[11] == '1' then return 'grace' end
if has_record and ARGV[10] ~= '' then
  -- What was redeemed by an answer about another user was redeemed, too. A record that isn't a hash tells nothing.
  local entry = typed(redis.pcall('HMGET', record, ARGV[10]))
  local state = entry and entry[1] and string.match(entry[1], '^{"state":"([a-z_]+)"')
  if state == 'redeemed' or state == 'refused_for_good' then return 'redeemed' end
end

-- How many random members `prune` looks at in each index that gets a member more. So in the long run about a quarter of
-- an index is dead at most.
local PROBES = 4
-- The same in each index that already has the row, by one write in a hundred. So dead members go even if none is added.
local RARE_PROBES = 100
local is_rare = string.sub(version, -2) == '00'

-- Adds the row to an index that held so many rows.
local function add(to, held, no_expiry)
  local is_added = (not old or held == 0) and redis.call('SADD', to, key) == 1
  if not old and held == 0 then
    if ttl ~= '0' and not no_expiry then redis.call('PEXPIRE', to, ttl) end
    return
  end
  outlive(to, ttl, prefix, no_expiry)
  if is_added or is_rare then
    -- uses: prune
    prune(to, prefix, is_added and PROBES or RARE_PROBES)
  end
end

-- This is the write that Redis refuses when it is out of memory. It comes first, so that nothing is written
-- then.
if ttl == '0' then
  redis.call('SET', key, ARGV[2])
else
  redis.call('SET', key, ARGV[2], 'PX', ttl)
end
add(session_index, rows, false)
if old_index then
  -- uses: index_remove
  index_remove(old_index, { key }, prefix, grace)
end
if index then add(index, users_rows, grace) end
if has_record then
  -- uses: keep_record
  keep_record(record, ttl)
end
return 'written'
