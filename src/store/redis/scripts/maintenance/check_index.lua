-- Looks at a page of an index for members that don't belong there, and takes them out (I1, I2, I5, I10).
-- What it tells was so at one instant. No other key is changed, and keys outside of the tenant aren't
-- even read.
--
-- KEYS  1 index
-- ARGV  1 prefix of the tenant, 2 sort of index: 'session', 'user' or 'identities', 3 how the members'
--       values spell its user, or '', 4 cursor, 5 about how many members, 6 '1' to take them out, '' to
--       only look
-- Gives { next cursor, members looked at, fault, member, ... }: faults are 'dangling' (there is no such
-- key), 'owner' (it belongs to another user), 'session' (a row of another session), 'foreign' (not of
-- the tenant, or no row or identity), and 'empty' with the index itself as its member: all of its
-- members are dangling. { 'type' } if the index is no set.
local index, prefix, sort, spelling, cursor = KEYS[1], ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local rows = prefix .. 'upstream:'
local session = string.sub(index, #rows + #'idx:' + 1)
if not is_set(index) then return { 'type' } end

-- Whether a part of a key is spelled as `encode` does it.
local function is_spelled(part)
  if not string.find(part, '[%z\1-\32%%:{}\127]') then return part ~= '' and part ~= 'idx' end
  local id = string.gsub(part, '%%(%x%x)', function(hex) return string.char(tonumber(hex, 16)) end)
  return encode(id) == part or part == '%69dx'
end

-- Whether what is at `member` belongs to the user whose index this is. What can't be read may.
local function is_own(member, family)
  local bytes = read(member)
  if not bytes or (spelling ~= '' and string.find(bytes, spelling, 1, true)) then return true end
  local ok, value = pcall(cjson.decode, bytes)
  if not ok or type(value) ~= 'table' then return true end
  local user = value.user_id
  if type(user) ~= 'string' or user == '' then return false end
  -- Other software spells ids plainly.
  local head = prefix .. family
  return head .. encode(user) == index or head .. user == index
end

local function fault_of(member)
  if sort == 'identities' then
    if not begins(member, prefix .. 'provider:') then return 'foreign' end
    if redis.call('EXISTS', member) == 0 then return 'dangling' end
    return not is_own(member, 'user:providers:') and 'owner'
  end
  local name = begins(member, rows) and string.sub(member, #rows + 1) or ''
  local of, provider = string.match(name, '^([^:]+):([^:]+)$')
  -- An older row, one a session, has its place in a user's index.
  local is_older = sort == 'user' and string.find(name, '^[^:]+$')
  if not is_older and not (of and is_spelled(of) and (provider == 'idx' or is_spelled(provider))) then
    return 'foreign'
  end
  if sort == 'session' and of ~= session then return 'session' end
  if redis.call('EXISTS', member) == 0 then return 'dangling' end
  return sort == 'user' and not is_older and not is_own(member, 'user:upstream:') and 'owner'
end

local page = redis.call('SSCAN', index, cursor, 'COUNT', ARGV[5])
local told, dangling = { page[1], #page[2] }, 0
for _, member in ipairs(page[2]) do
  local fault = fault_of(member)
  if fault then
    told[#told + 1] = fault
    told[#told + 1] = member
    if fault == 'dangling' then dangling = dangling + 1 end
  end
end
if ARGV[6] == '1' then
  for i = 4, #told, 2 do redis.call('SREM', index, told[i]) end
end
if dangling > 0 and dangling == #page[2] and cursor == '0' and page[1] == '0' then
  return { '0', dangling, 'empty', index }
end
return told
