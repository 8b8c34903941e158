-- Reads all rows of a session as of one instant, and writes nothing.
--
-- KEYS  1 session index
-- ARGV  1 what the keys of the session's rows begin with
-- Gives { members that are no row of this session, key, bytes, key, bytes, ... }; bytes are '' for a
-- key that holds no string.
local own, foreign, keys = ARGV[1], 0, {}
for _, member in ipairs(redis.call('SMEMBERS', KEYS[1])) do
  if begins(member, own) then keys[#keys + 1] = member else foreign = foreign + 1 end
end
local found = { foreign }
for _, key in ipairs(keys) do
  local bytes = read(key)
  if bytes then
    found[#found + 1] = key
    found[#found + 1] = bytes
  end
end
return found
