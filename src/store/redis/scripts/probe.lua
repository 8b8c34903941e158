-- Runs each command that the scripts need, once. Nobody sees the key meanwhile, and it is gone afterwards.
--
-- KEYS  1 a key that holds nothing
-- ARGV  1 the channel on which the ends of attempts are announced
-- Returns { command, its error, command, its error, ... } for those that fail.
local key, failed = KEYS[1], {}
for _, command in ipairs({
  { 'SADD', key, 'x' }, { 'SCARD', key }, { 'SISMEMBER', key, 'x' }, { 'SMEMBERS', key },
  { 'SRANDMEMBER', key, 1 }, { 'SSCAN', key, 0 }, { 'SREM', key, 'x' },
  { 'HSET', key, 'x', '1', 'y', '1' }, { 'HMGET', key, 'x' }, { 'HGETALL', key },
  { 'HDEL', key, 'x', 'y' },
  { 'ZADD', key, 1, 'x' }, { 'ZCOUNT', key, 0, 1 }, { 'ZRANGEBYSCORE', key, 0, 1 }, { 'ZREM', key, 'x' },
  -- A key that can't be deleted ends by itself.
  { 'SET', key, '1' }, { 'PERSIST', key }, { 'PEXPIRE', key, 1000 },
  { 'GET', key }, { 'GETRANGE', key, 0, 0 }, { 'MGET', key }, { 'STRLEN', key }, { 'EXISTS', key }, { 'TYPE', key },
  { 'PTTL', key }, { 'TIME' },
  -- Who listens takes this for no end.
  { 'PUBLISH', ARGV[1], '' },
  { 'DEL', key },
}) do
  local answer = redis.pcall(unpack(command))
  if type(answer) == 'table' and answer.err then
    failed[#failed + 1] = command[1]
    failed[#failed + 1] = answer.err
  end
end
return failed
