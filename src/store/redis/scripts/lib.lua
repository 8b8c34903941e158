-- What the other scripts share; it stands before each of them. Rows are decoded only to look at a
-- field, never encoded again: cjson doesn't give back what it read.

-- How many random members of an index one write looks at, to prune those whose row is gone. Each
-- write adds one member at most, so that in the long run a quarter of an index is dead at most.
local PROBES = 4
-- The largest index whose expiry is worked out again from its members.
local RECOUNT = 128

-- The spelling of an id in a key, as in keyspace/spelling.rs.
local function encode(id)
  return (string.gsub(id, '[%z\1-\32%%:{}\127]', function(c)
    return string.format('%%%02X', string.byte(c))
  end))
end

local function begins(text, head)
  return string.sub(text, 1, #head) == head
end

-- The answer of a command that may meet a value of another type: then it is nil. Any other error ends the
-- script, above all that a key is on its way to another node of a cluster.
local function typed(answer)
  if type(answer) ~= 'table' or not answer.err then return answer end
  if not string.find(answer.err, 'WRONGTYPE', 1, true) then error(answer.err) end
  return nil
end

-- Ends the script if `key`, which isn't among KEYS, may be on its way to another node. To be asked before
-- the first write: an error later would leave half of the work done.
local function reach(key)
  redis.call('EXISTS', key)
end

-- The bytes of a row; false if there is none, which `null` stands for too; '' if the key holds
-- something that is no string.
local function read(key)
  local bytes = typed(redis.pcall('GET', key))
  if bytes == nil then return '' end
  if bytes == 'null' then return false end
  return bytes
end

-- Whether `read` finds a row, without reading a long one.
local function exists(key)
  local length = typed(redis.pcall('STRLEN', key))
  if length == 0 then return redis.call('EXISTS', key) == 1 end
  return length ~= 4 or redis.call('GET', key) ~= 'null'
end

local function fields(bytes)
  local ok, row = pcall(cjson.decode, bytes)
  if ok and type(row) == 'table' then return row end
  return {}
end

-- The version in decimal; where the writer keeps none, the first 52 bits of the SHA-1 of the row,
-- as in version.rs.
local function version_of(bytes, row)
  local version = row.version
  if type(version) == 'number' and version >= 1 and version < 9007199254740992
      and version == math.floor(version) then
    return string.format('%.0f', version)
  end
  local derived = tonumber(string.sub(redis.sha1hex(bytes), 1, 13), 16)
  return string.format('%.0f', math.max(derived, 1))
end

local function user_index(prefix, row)
  local user = row.user_id
  if type(user) == 'string' and user ~= '' then
    return prefix .. 'user:upstream:' .. encode(user)
  end
  return nil
end

-- An index without expiry gets one again, if no member needs it to stay (I5). Members whose row is
-- gone go: with them alone it would stay for ever. Where a member can't be asked for, because it is on its way
-- to another node, the index stays as it is.
local function expire_with_members(index, prefix)
  if redis.call('SCARD', index) > RECOUNT then return end
  local longest, dead = 0, {}
  for _, member in ipairs(redis.call('SMEMBERS', index)) do
    if begins(member, prefix) then
      local left = redis.pcall('PTTL', member)
      if type(left) == 'table' or left == -1 then return end
      if left == -2 then dead[#dead + 1] = member end
      if left > longest then longest = left end
    end
  end
  if #dead > 0 then redis.call('SREM', index, unpack(dead)) end
  if longest > 0 then redis.call('PEXPIRE', index, longest) end
end

-- Puts a row that is written already and lives for `ttl` ms (0: for ever) into an index, which then
-- lives as long at least.
local function index_add(index, member, ttl, prefix, no_expiry)
  local before = redis.call('PTTL', index)
  redis.call('SADD', index, member)
  if ttl == 0 or no_expiry then
    if before >= 0 then redis.call('PERSIST', index) end
  elseif before == -1 then
    expire_with_members(index, prefix)
  elseif before < ttl then
    redis.call('PEXPIRE', index, ttl)
  end
end

-- Takes a row out of an index. One that is no set has no member to lose: an error here would leave
-- the row deleted and its other index as it was (I2). An index that loses its last member is gone, and is
-- not asked for any more: where a slot moves, a key that is gone is an error.
local function index_remove(index, member, prefix, no_expiry)
  local members = redis.pcall('SCARD', index)
  if type(members) == 'table' or redis.call('SREM', index, member) == 0 then return end
  if members > 1 and not no_expiry and redis.call('PTTL', index) == -1 then
    expire_with_members(index, prefix)
  end
end

-- Removes a few members whose row is gone. Members outside of `prefix` are left alone (I10). One
-- question tells whether there is any, as mostly there is none. What can't be asked for stays.
local function prune(index, prefix)
  local own = {}
  for _, member in ipairs(redis.call('SRANDMEMBER', index, PROBES)) do
    if begins(member, prefix) then own[#own + 1] = member end
  end
  if #own == 0 then return end
  local alive = redis.pcall('EXISTS', unpack(own))
  if type(alive) == 'table' or alive == #own then return end
  for _, member in ipairs(own) do
    if redis.pcall('EXISTS', member) == 0 then redis.call('SREM', index, member) end
  end
end

-- Whether a key holds a string with this SHA-1, or for '' nothing; nil if it holds something else.
local function holds(key, sha)
  local bytes = typed(redis.pcall('GET', key))
  if bytes == nil then return nil end
  if not bytes then return sha == '' end
  return sha ~= '' and redis.sha1hex(bytes) == sha
end

local function is_set(key)
  return typed(redis.pcall('SCARD', key)) ~= nil
end

-- Reaches both indexes of a row that exists.
local function reach_indexes(bytes, session_index, prefix)
  reach(session_index)
  local index = user_index(prefix, fields(bytes))
  if index then reach(index) end
end

-- Removes a row that exists, with its places in both indexes (I1, I2), which were reached before.
local function remove(key, bytes, session_index, prefix, grace)
  redis.call('DEL', key)
  index_remove(session_index, key, prefix, false)
  local index = user_index(prefix, fields(bytes))
  if index then index_remove(index, key, prefix, grace) end
end

-- Writes something where nothing had to be written, so that WAIT after the script waits for what others wrote
-- before: some servers let it wait for the client's own last write only. To be called where `durable` is '1'.
local function fence(durable, prefix)
  local key = prefix .. 'broker:fence'
  -- A new end is written also where Redis is out of memory.
  if durable == '1' and redis.call('PEXPIRE', key, 60000) == 0 then redis.call('SET', key, '1', 'PX', 60000) end
end

