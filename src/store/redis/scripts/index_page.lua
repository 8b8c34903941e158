-- Reads a page of a user's index, and removes the members whose key is gone (I5). On a replica it only reads.
--
-- KEYS  1 index
-- ARGV  1 what the members that count begin with, 2 cursor, 3 about how many members
-- Returns { next cursor, number of members that don't count, member, member, ... }.
local own = ARGV[1]
local page = redis.call('SSCAN', KEYS[1], ARGV[2], 'COUNT', ARGV[3])
local found = { page[1], 0 }
for _, member in ipairs(page[2]) do
  if not starts_with(member, own) then
    found[2] = found[2] + 1
  elseif redis.call('EXISTS', member) == 1 then
    found[#found + 1] = member
  else
    redis.pcall('SREM', KEYS[1], member)
  end
end
return found
