-- Removes rows from an index.
--
-- An index that isn't a set has no member to remove. It causes no error, because an error here would leave
-- the rows deleted and their other index unchanged (I2). An index that loses its last member doesn't exist any
-- more, and while a slot moves, reading a missing key is an error.
local function index_remove(index, members, prefix, no_expiry)
  local removed = redis.pcall('SREM', index, unpack(members))
  if type(removed) == 'table' or removed == 0 or no_expiry then return end
  if redis.pcall('PTTL', index) == -1 then
    -- uses: expire_with_members
    expire_with_members(index, prefix)
  end
end

