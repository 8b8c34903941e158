-- What the scripts share. This file is put in front of each of them. No script decodes JSON: its parser and the
-- broker's would disagree about what can be read. A script reads the head of a row, and is told the rest.

-- A script's first argument, before those that its own comment lists: the latest time at which it may begin, in
-- microseconds of this server's clock, or '' if it doesn't matter. A request can arrive long after the broker has given
-- it up, and others may have written meanwhile.
local latest = table.remove(ARGV, 1)
if latest and latest ~= '' then
  local time = redis.call('TIME')
  local now = time[1] .. string.format('%06d', time[2])
  if tonumber(now) > tonumber(latest) then return redis.error_reply('LATE ' .. now) end
end

-- How many random members of an index one write looks at, to remove those whose row is gone. Each write adds
-- one member at most, so that in the long run at most a quarter of an index is dead.
local PROBES = 4
-- The largest index whose expiry is recomputed from its members.
local RECOUNT = 128
-- The largest head of a row in bytes, as in label.rs.
local HEAD = 553

-- Returns the spelling of an id in a key, as keyspace/spelling.rs does.
local function encode(id)
  return (string.gsub(id, '[%z\1-\32%%:{}\127]', function(c)
    return string.format('%%%02X', string.byte(c))
  end))
end

local function starts_with(text, head)
  return string.sub(text, 1, #head) == head
end

-- Returns the answer of a command, or nil if its key holds a value of another type. Any other error ends the
-- script, most of all the error for a key that is moving to another node of a cluster.
local function typed(answer)
  if type(answer) ~= 'table' or not answer.err then return answer end
  if not string.find(answer.err, 'WRONGTYPE', 1, true) then error(answer.err) end
  return nil
end

-- Ends the script if `key`, which isn't among KEYS, may be moving to another node. A script calls this before
-- its first write, because an error after that would leave half of the work done.
local function ensure_local(key)
  redis.call('EXISTS', key)
end

-- Returns the bytes of a row. Returns false if there is no row or the value is `null`, and '' if the key
-- holds something other than a string.
local function read(key)
  local bytes = typed(redis.pcall('GET', key))
  if bytes == nil then return '' end
  if bytes == 'null' then return false end
  return bytes
end

-- Whether `read` would find a row. Doesn't read a long value.
local function exists(key)
  local length = typed(redis.pcall('STRLEN', key))
  if length == 0 then return redis.call('EXISTS', key) == 1 end
  return length ~= 4 or redis.call('GET', key) ~= 'null'
end

-- What the caller told, by key, and what it has to tell. As long as anything is left to tell, a script writes
-- nothing and returns `untold`.
local told, untold = {}, { 'tell' }

-- Takes what the caller told: from this argument on key, SHA-1 of the bytes, version, user and '1' of each row. The
-- version is '' if the row can't be read, and the user '' if it has none or that can't be told. The '1' is missing if
-- the key isn't spelled as the broker spells it.
local function listen(first)
  for i = first, #ARGV, 5 do
    local sha, version, user, is_ours = unpack(ARGV, i + 1, i + 4)
    told[ARGV[i]] = { sha = sha, version = version, user = user, is_ours = is_ours == '1' }
  end
end

local function ask(key)
  untold[#untold + 1] = key
  untold[#untold + 1] = typed(redis.pcall('GET', key)) or ''
end

-- Returns { version, user } of a row, both as `listen` has them, or nil if there is no row or the value is `null`.
-- A row whose head isn't spelled as the broker spells it has to be told.
local function look(key)
  local head = typed(redis.pcall('GETRANGE', key, 0, HEAD - 1))
  if head == nil then return { version = '', user = '' } end
  if head == 'null' or head == '' and redis.call('EXISTS', key) == 0 then return nil end
  local version, user = string.match(head, '^{"version":([1-9]%d*),"user_id":"([ !#-[%]^-~]*)"[,}]')
  if version and #version <= 16 and tonumber(version) < 9007199254740992 then
    return { version = version, user = user }
  end
  local row = told[key]
  if row and row.sha == redis.sha1hex(redis.call('GET', key)) then return row end
  ask(key)
  return { version = '', user = '' }
end

-- Whether it can't be told whose a row is.
local function is_anyones(row)
  return row.version == '' and row.user == ''
end

-- Whether `member` is spelled as a row of the session whose rows begin with `own`. `GetAll` sees no other member. A
-- spelling that isn't plain has to be told.
local function is_row_of(member, own)
  if not starts_with(member, own) then return false end
  if string.find(member, '^[!-$&-9;-z|~]+$', #own + 1) then return true end
  if not told[member] then ask(member) end
  return told[member] and told[member].is_ours
end

local function user_index(prefix, row)
  if row.user == '' then return nil end
  return prefix .. 'user:upstream:' .. encode(row.user)
end

-- Whether other software may write to the tenant (M7): its grace period is open, or there is no note of a migration,
-- so that nobody knows. What is missing never counts as the end of the period. A script calls this before its first
-- write, like `ensure_local`.
local function is_grace(mark, prefix)
  return redis.call('EXISTS', mark) == 1 or redis.call('EXISTS', prefix .. 'broker:migration') == 0
end

-- Returns which data this server holds, as an opaque text. It is another one at each server, after each promotion, and
-- when a server comes back with the data of another: a server gets a new replication id when it is promoted. It begins
-- with the 40 digits of the server's run id.
local function data_lineage()
  local run_id = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
  return run_id .. (string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)') or '')
end

-- Sets the expiry of an index that has none, unless a member needs the index to stay (I5). Removes the
-- members whose row is gone, because an index of such members alone would stay for ever. If a member can't be
-- read because it is moving to another node, the index stays as it is.
local function expire_with_members(index, prefix)
  if redis.call('SCARD', index) > RECOUNT then return end
  local longest, dead = 0, {}
  for _, member in ipairs(redis.call('SMEMBERS', index)) do
    if starts_with(member, prefix) then
      local left = redis.pcall('PTTL', member)
      if type(left) == 'table' or left == -1 then return end
      if left == -2 then dead[#dead + 1] = member end
      if left > longest then longest = left end
    end
  end
  if #dead > 0 then redis.call('SREM', index, unpack(dead)) end
  if longest > 0 then redis.call('PEXPIRE', index, longest) end
end

-- Adds a row to an index. The row is already written and lives for `ttl` ms (0: for ever). Afterwards the
-- index lives at least as long as the row.
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

-- Removes a row from an index.
--
-- An index that isn't a set has no member to remove. It causes no error, because an error here would leave
-- the row deleted and its other index unchanged (I2). An index that loses its last member doesn't exist any
-- more, and is not read again: while a slot moves, reading a missing key is an error.
local function index_remove(index, member, prefix, no_expiry)
  local members = redis.pcall('SCARD', index)
  if type(members) == 'table' or redis.call('SREM', index, member) == 0 then return end
  if members > 1 and not no_expiry and redis.call('PTTL', index) == -1 then
    expire_with_members(index, prefix)
  end
end

-- Removes a few members whose row is gone. Leaves members outside of `prefix` alone (I10), and members that
-- can't be read. First one EXISTS tells whether there is anything to remove, because mostly there is not.
local function prune(index, prefix)
  local own = {}
  for _, member in ipairs(redis.call('SRANDMEMBER', index, PROBES)) do
    if starts_with(member, prefix) then own[#own + 1] = member end
  end
  if #own == 0 then return end
  local alive = redis.pcall('EXISTS', unpack(own))
  if type(alive) == 'table' or alive == #own then return end
  for _, member in ipairs(own) do
    if redis.pcall('EXISTS', member) == 0 then redis.call('SREM', index, member) end
  end
end

-- Whether a key holds a string with this SHA-1, or nothing if `sha` is ''. Returns nil if the key holds
-- something else.
local function holds(key, sha)
  local bytes = typed(redis.pcall('GET', key))
  if bytes == nil then return nil end
  if not bytes then return sha == '' end
  return sha ~= '' and redis.sha1hex(bytes) == sha
end

local function is_set(key)
  return typed(redis.pcall('SCARD', key)) ~= nil
end

-- Ends the script if an index of an existing row may be moving to another node.
local function ensure_indexes_local(row, session_index, prefix)
  ensure_local(session_index)
  local index = user_index(prefix, row)
  if index then ensure_local(index) end
end

-- Removes an existing row and its members in both indexes (I1, I2). `ensure_indexes_local` must be called
-- before.
local function remove(key, row, session_index, prefix, grace)
  redis.call('DEL', key)
  index_remove(session_index, key, prefix, false)
  local index = user_index(prefix, row)
  if index then index_remove(index, key, prefix, grace) end
end

-- Writes something although nothing had to change, so that WAIT after the script waits for what other clients
-- wrote before. On some servers WAIT waits only for the client's own last write. Writes nothing unless
-- `durable` is '1'.
local function fence(durable, prefix)
  local key = prefix .. 'broker:fence'
  -- PEXPIRE works even if Redis is out of memory.
  if durable == '1' and redis.call('PEXPIRE', key, 60000) == 0 then redis.call('SET', key, '1', 'PX', 60000) end
end

