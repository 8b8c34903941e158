-- Moves rows of the older layout to their new keys, or drops those whose new key holds a newer row. Each row goes in one
-- step, and only while both of its keys hold what the decision was based on (M1, M2; I1).
--
-- KEYS  1 key of the grace period, then of each row: row of the older layout, row, session index, user index (only with
--       a user), then: other user indexes, which must contain neither key from now on
-- ARGV  1 prefix of the tenant, 2 '1' to do it, '' to only look, then of each row: number of its keys, '1' with a user,
--       SHA-1 of the older row, SHA-1 of the row, or '' if there is none, row as JSON, or '' to drop the older one
-- Returns of each row 'done', 'changed', or 'type' if one of the keys holds another type. If argument 2 is '', 'done'
-- means that it could be done.
-- uses: latest typed holds is_grace outlive index_remove record_of
local call, sha1hex = redis.call, redis.sha1hex
local prefix, apply = ARGV[1], ARGV[2] == '1'
local grace = is_grace(KEYS[1], prefix)

-- Where the keys of each row begin. What can be read of all rows at once is read by one command.
local begins, legacies, rows, session_indexes = { 2 }, {}, {}, {}
for i = 3, #ARGV, 5 do
  local first, n = begins[#begins], #legacies + 1
  legacies[n], rows[n], session_indexes[n] = KEYS[first], KEYS[first + 1], KEYS[first + 2]
  begins[n + 1] = first + ARGV[i]
end
local older = call('MGET', unpack(legacies))

-- Whether something is there already. False as long as it is known that there isn't.
local may_be_there = {}
if call('EXISTS', unpack(rows)) == 0 then
  for _, row in ipairs(rows) do may_be_there[row] = false end
end

-- Mostly no row has a record.
local records = {}
for n, row in ipairs(rows) do records[n] = record_of(row, prefix) end
local has_records = call('EXISTS', unpack(records)) > 0

-- How many members each index had, or 1 if this call made it. False if the key holds another type.
local sizes = {}
if call('EXISTS', unpack(session_indexes)) == 0 then
  for _, index in ipairs(session_indexes) do sizes[index] = 0 end
end
local function is_index(key)
  if sizes[key] == nil then sizes[key] = typed(redis.pcall('SCARD', key)) or false end
  return sizes[key]
end

-- Sees to it that an index to which a row was added lives at least as long as the row, which lives for `ttl` ms, a decimal
-- ('0': for ever).
local function keep(index, ttl, no_expiry)
  if sizes[index] > 0 then
    outlive(index, ttl, prefix, no_expiry)
    return
  end
  sizes[index] = 1
  if ttl ~= '0' and not no_expiry then call('PEXPIRE', index, ttl) end
end

-- `first` and `last` are the row's keys, and `value` is what the older one holds. Whatever may end the script comes
-- before the row's first write, or is that write. The rows before it are done then.
local function settle(first, last, value, has_user, older_sha, sha, json)
  local legacy, row, session_index, first_other = KEYS[first], KEYS[first + 1], KEYS[first + 2], first + 3
  local of_user = has_user and KEYS[first + 3]
  -- In the grace period a user's index has no expiry, whatever was in it. So nothing has to be known of it, and whether it
  -- is an index is told by the write.
  local is_told = of_user and grace and apply and json ~= ''
  if not is_index(session_index) then return 'type' end
  if of_user then
    first_other = first + 4
    if not is_told and not is_index(of_user) then return 'type' end
  end
  for i = first_other, last do
    if not is_index(KEYS[i]) then return 'type' end
  end
  if may_be_there[row] ~= false or sha ~= '' then
    local is_as_decided = holds(row, sha)
    if is_as_decided == nil then return 'type' end
    if not is_as_decided then return 'changed' end
  end
  if not value or sha1hex(value) ~= older_sha then return 'changed' end
  if not apply then return 'done' end

  if json == '' then
    call('DEL', legacy)
    for i = first + 3, last do index_remove(KEYS[i], { legacy }, prefix, grace) end
    return 'done'
  end
  local ttl = call('PTTL', legacy)
  ttl = ttl == -1 and '0' or string.format('%.0f', math.max(ttl, 1))
  -- If Redis is out of memory, it refuses the first write, and nothing of the row is done.
  if is_told and not typed(redis.pcall('SADD', of_user, row)) then return 'type' end
  if ttl == '0' then
    call('SET', row, json)
  else
    call('SET', row, json, 'PX', ttl)
  end
  may_be_there[row] = true
  if has_records then
    -- uses: keep_record
    keep_record(record_of(row, prefix), ttl)
  end
  call('DEL', legacy)
  call('SADD', session_index, row)
  keep(session_index, ttl, false)
  if is_told then
    call('PERSIST', of_user)
    call('SREM', of_user, legacy)
  elseif of_user then
    local had_legacy = sizes[of_user] > 0
    call('SADD', of_user, row)
    keep(of_user, ttl, grace)
    if had_legacy then index_remove(of_user, { legacy }, prefix, grace) end
  end
  for i = first_other, last do index_remove(KEYS[i], { row, legacy }, prefix, grace) end
  return 'done'
end

local answers = {}
for n = 1, #legacies do
  local has_user, older_sha, sha, json = unpack(ARGV, 5 * n - 1, 5 * n + 2)
  answers[n] = settle(begins[n], begins[n + 1] - 1, older[n], has_user == '1', older_sha, sha, json)
end
return answers
