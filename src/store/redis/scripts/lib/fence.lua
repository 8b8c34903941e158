-- Writes something although nothing had to change, so that WAIT after the script waits for what other clients
-- wrote before. On some servers WAIT waits only for the client's own last write. Writes nothing unless
-- `durable` is '1'.
local function fence(durable, prefix)
  local key = prefix .. 'broker:fence'
  -- PEXPIRE works even if Redis is out of memory.
  if durable == '1' and redis.call('PEXPIRE', key, 60000) == 0 then redis.call('SET', key, '1', 'PX', 60000) end
end

