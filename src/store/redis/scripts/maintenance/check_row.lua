-- Checks that a row is in its session's and its user's index, and that both live as long as the row. Repairs
-- what is wrong (I1, I2). The report is true of one instant. The row itself is never changed.
--
-- KEYS  1 row, 2 session index, 3 key of the grace period, 4 user index (only with a user)
-- ARGV  1 prefix of the tenant, 2 the user that the caller saw in the row, or '', 3 '1' to repair, '' to only look,
--       4 SHA-1 of the row that the caller saw
-- Returns { index, fault, ... }: an index is 'session' or 'user', a fault 'missing' or 'early'. If an index isn't a
-- set, that is a fault of the index, and this script doesn't report it. Returns { 'changed' } if the row is gone or
-- now names another user.
-- uses: latest look is_grace index_add
local key, prefix, user = KEYS[1], ARGV[1], ARGV[2]
local entries = { { name = 'session', index = KEYS[2] }, { name = 'user', index = KEYS[4] } }
local checked = {}
for _, entry in ipairs(entries) do
  local is_member = entry.index and redis.pcall('SISMEMBER', entry.index, key)
  if type(is_member) == 'number' then
    entry.holds = is_member == 1
    entry.left = redis.call('PTTL', entry.index)
    checked[#checked + 1] = entry
  end
end
-- The row's expiry is read last, because on Redis 6.2 the clock goes on during a script.
local left = redis.call('PTTL', key)

-- Whether the row is in the index that other software has for a user whom it spells in another way, until the row ends.
local function is_elsewhere()
  -- uses: plain
  local spelled = plain(user)
  local index = spelled and prefix .. 'user:upstream:' .. spelled
  if not index or redis.pcall('SISMEMBER', index, key) ~= 1 then return false end
  local ends = redis.call('PTTL', index)
  return ends == -1 or left ~= -1 and ends >= left
end

local faulty = {}
for _, entry in ipairs(checked) do
  if not entry.holds then
    if entry.name ~= 'user' or not is_elsewhere() then entry.fault = 'missing' end
  elseif entry.left ~= -1 and (left == -1 or entry.left < left) then
    entry.fault = 'early'
  end
  if entry.fault then faulty[#faulty + 1] = entry end
end
if #faulty == 0 then return {} end

-- The row may have changed since the caller read it.
told[key] = { sha = ARGV[4], version = '', user = user }
local version, of = look(key)
if untold or not version or of ~= user then return { 'changed' } end

local report = {}
local grace = is_grace(KEYS[3], prefix)
for _, entry in ipairs(faulty) do
  report[#report + 1] = entry.name
  report[#report + 1] = entry.fault
  if ARGV[3] == '1' then
    if entry.left == -1 then
      -- The index has no expiry, perhaps because of a row that is not its member yet. It stays so.
      redis.call('SADD', entry.index, key)
    else
      local ttl = left == -1 and '0' or string.format('%.0f', math.max(left, 1))
      index_add(entry.index, key, ttl, prefix, grace and entry.name == 'user')
    end
  end
end
return report
