-- Finds the members of a page of an index that don't belong there, and removes them (I1, I2, I5, I10). The
-- report is true of one instant. No other key is changed, and keys outside of the tenant aren't even read.
--
-- KEYS  1 index
-- ARGV  1 prefix of the tenant, 2 sort of index: 'session', 'user' or 'identities', 3 how the JSON of a member names
--       the user of the index, or '', 4 cursor, 5 about how many members, 6 '1' to remove them, '' to only look, 7...
--       what the caller was asked to tell. The script may ask instead of answering
-- Returns { next cursor, number of members looked at, number of them that are rows in another spelling, fault, member,
-- ... }. The faults are 'dangling' (the key doesn't exist), 'owner' (the key belongs to another user), 'session' (the
-- row belongs to another session), 'foreign' (the key is outside of the tenant, or is neither a row nor an identity)
-- and 'empty'. 'empty' comes with the index itself as its member: all of its members are dangling. A row in another
-- spelling than the broker's is no fault: other software owns it. Returns { 'type' } if the index is not a set.
-- uses: latest listen look read is_set is_anyones encode starts_with
local index, prefix, sort, spelling, cursor = KEYS[1], ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local rows = prefix .. 'upstream:'
local session = string.sub(index, #rows + #'idx:' + 1)
listen(7)
if not is_set(index) then return { 'type' } end

-- Whether a part of a key is spelled as `encode` spells it.
local function is_spelled(part)
  if not string.find(part, '[%z\1-\32%%:{}\127]') then return part ~= '' and part ~= 'idx' end
  local id = string.gsub(part, '%%(%x%x)', function(hex) return string.char(tonumber(hex, 16)) end)
  return encode(id) == part or part == '%69dx'
end

-- Whether the value of `member` belongs to the user of this index, or may do.
local function is_own(member, family)
  local bytes = read(member)
  if not bytes or (spelling ~= '' and string.find(bytes, spelling, 1, true)) then return true end
  local version, user = look(member)
  if not version or is_anyones(version, user) then return true end
  if user == '' then return false end
  -- Other software doesn't encode ids.
  local head = prefix .. family
  return head .. encode(user) == index or head .. user == index
end

-- Whether `member` holds what may be a row: a JSON object, or `null`.
local function is_row(member)
  local bytes = typed(redis.pcall('GETRANGE', member, '0', '127'))
  return bytes and (bytes == 'null' or string.find(bytes, '^%s*{') ~= nil)
end

-- Returns the fault of a member, if it has one, and whether it is a row in another spelling.
local function fault_of(member)
  if sort == 'identities' then
    if not starts_with(member, prefix .. 'provider:') then return 'foreign' end
    if redis.call('EXISTS', member) == 0 then return 'dangling' end
    return not is_own(member, 'user:providers:') and 'owner'
  end
  local name = starts_with(member, rows) and string.sub(member, #rows + 1) or ''
  local of, provider = string.match(name, '^([^:]+):([^:]+)$')
  -- A row of the older layout, which has one row per session, is a member of user indexes only.
  local is_older = sort == 'user' and string.find(name, '^[^:]+$')
  local is_ours = is_older or (of and is_spelled(of) and (provider == 'idx' or is_spelled(provider)))
  if not is_ours then
    -- Other software doesn't encode ids: '<session>:<provider>' may have any characters.
    if not string.find(name, '^.+:.+$') then return 'foreign' end
    if redis.call('EXISTS', member) == 0 then return 'dangling' end
    if not is_row(member) then return 'foreign' end
    if sort == 'session' and not starts_with(name, session .. ':') then return 'session' end
  else
    if sort == 'session' and of ~= session then return 'session' end
    if redis.call('EXISTS', member) == 0 then return 'dangling' end
  end
  if sort == 'user' and not is_older and not is_own(member, 'user:upstream:') then return 'owner' end
  return nil, not is_ours
end

local page = redis.call('SSCAN', index, cursor, 'COUNT', ARGV[5])
local report, dangling = { page[1], #page[2], 0 }, 0
for _, member in ipairs(page[2]) do
  local fault, is_others = fault_of(member)
  if is_others then report[3] = report[3] + 1 end
  if fault then
    report[#report + 1] = fault
    report[#report + 1] = member
    if fault == 'dangling' then dangling = dangling + 1 end
  end
end
if untold then return untold end
if ARGV[6] == '1' then
  for i = 5, #report, 2 do redis.call('SREM', index, report[i]) end
end
if dangling > 0 and dangling == #page[2] and cursor == '0' and page[1] == '0' then
  return { '0', dangling, 0, 'empty', index }
end
return report
