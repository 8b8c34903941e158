-- Reads all rows of a session as of one instant. Writes nothing.
--
-- KEYS  1 session index
-- ARGV  1 what the keys of the session's rows begin with
-- Returns { number of members that are not rows of this session, key, bytes, key, bytes, ... }. The bytes are ''
-- if the key holds something other than a string.
-- uses: starts_with read
local own, foreign, keys = ARGV[1], 0, {}
for _, member in ipairs(redis.call('SMEMBERS', KEYS[1])) do
  if starts_with(member, own) then keys[#keys + 1] = member else foreign = foreign + 1 end
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
