-- Moves rows of the older layout to their new keys, or drops those whose new key holds a newer row. Each row goes in one
-- step, and only while both of its keys hold what the decision was based on (M1, M2; I1).
--
-- KEYS  1 key of the grace period, then of each row: row of the older layout, row, session index, user index (only with
--       a user), then: other user indexes, which must contain neither key from now on
-- ARGV  1 prefix of the tenant, 2 '1' to do it, '' to only look, then of each row: number of its keys, '1' with a user,
--       SHA-1 of the older row, SHA-1 of the row, or '' if there is none, row as JSON, or '' to drop the older one
-- Returns of each row 'done', 'changed', or 'type' if one of the keys holds another type. If argument 2 is '', 'done'
-- means that it could be done.
-- uses: latest typed holds is_grace outlive index_remove
local prefix, apply = ARGV[1], ARGV[2] == '1'
local grace = is_grace(KEYS[1], prefix)

-- Where the keys of each row begin. What can be read of all rows at once is read by one command.
local begins, legacies, session_indexes = { 2 }, {}, {}
for i = 3, #ARGV, 5 do
  local first = begins[#begins]
  legacies[#legacies + 1], session_indexes[#session_indexes + 1] = KEYS[first], KEYS[first + 2]
  begins[#begins + 1] = first + ARGV[i]
end
local older = redis.call('MGET', unpack(legacies))

-- How many members each index had, or 1 if this call made it. False if the key holds another type.
local sizes = {}
if redis.call('EXISTS', unpack(session_indexes)) == 0 then
  for _, index in ipairs(session_indexes) do sizes[index] = 0 end
end
local function is_index(key)
  if sizes[key] == nil then sizes[key] = typed(redis.pcall('SCARD', key)) or false end
  return sizes[key]
end

-- Adds a row, which is already written and lives for `ttl` ms, a decimal ('0': for ever). Afterwards the index lives at
-- least as long.
local function add(index, row, ttl, no_expiry)
  redis.call('SADD', index, row)
  if sizes[index] > 0 then
    outlive(index, ttl, prefix, no_expiry)
    return
  end
  sizes[index] = 1
  if ttl ~= '0' and not no_expiry then redis.call('PEXPIRE', index, ttl) end
end

-- Writes a row, unless it has to be new and something is there. This is the write that Redis refuses when it is out of
-- memory. It comes first, so that nothing of the row is done then.
local function write(row, json, is_new, ttl)
  local set = { 'SET', row, json }
  if is_new then set[4] = 'NX' end
  if ttl ~= '0' then
    set[#set + 1] = 'PX'
    set[#set + 1] = ttl
  end
  return redis.call(unpack(set))
end

-- `first` and `last` are the row's keys, and `value` is what the older one holds. Whatever may end the script comes
-- before the row's first write. The rows before it are done then.
local function settle(first, last, value, has_user, older_sha, sha, json)
  local legacy, row, first_user = KEYS[first], KEYS[first + 1], first + 3
  for i = first + 2, last do
    if not is_index(KEYS[i]) then return 'type' end
  end
  -- A row that has to be new is told by its write.
  local is_new = sha == '' and json ~= '' and apply
  if not is_new then
    local is_as_decided = holds(row, sha)
    if is_as_decided == nil then return 'type' end
    if not is_as_decided then return 'changed' end
  end
  if not value or redis.sha1hex(value) ~= older_sha then return 'changed' end
  if not apply then return 'done' end

  local first_other = has_user and first_user + 1 or first_user
  if json ~= '' then
    local ttl = redis.call('PTTL', legacy)
    ttl = ttl == -1 and '0' or string.format('%.0f', math.max(ttl, 1))
    if not write(row, json, is_new, ttl) then
      return type(redis.pcall('STRLEN', row)) == 'number' and 'changed' or 'type'
    end
    redis.call('DEL', legacy)
    add(KEYS[first + 2], row, ttl, false)
    local had_legacy = has_user and sizes[KEYS[first_user]] > 0
    if has_user then add(KEYS[first_user], row, ttl, grace) end
    if had_legacy then index_remove(KEYS[first_user], { legacy }, prefix, grace) end
    for i = first_other, last do index_remove(KEYS[i], { row, legacy }, prefix, grace) end
  else
    redis.call('DEL', legacy)
    for i = first_user, last do index_remove(KEYS[i], { legacy }, prefix, grace) end
  end
  return 'done'
end

local answers = {}
for n = 1, #legacies do
  local has_user, older_sha, sha, json = unpack(ARGV, 5 * n - 1, 5 * n + 2)
  answers[n] = settle(begins[n], begins[n + 1] - 1, older[n], has_user == '1', older_sha, sha, json)
end
return answers
