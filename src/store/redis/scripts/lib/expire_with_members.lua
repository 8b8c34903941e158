-- uses: starts_with
-- The largest index whose expiry is recomputed from its members.
local RECOUNT = 128

-- Sets the expiry of an index that has none, unless a member needs the index to stay (I5). Removes the
-- members whose row is gone, because an index of such members alone would stay for ever. If a member can't be
-- read because it is moving to another node, the index stays as it is, and so does an index that isn't a set: a row
-- may be deleted already, and no error may end the script now.
local function expire_with_members(index, prefix)
  local size = redis.pcall('SCARD', index)
  if type(size) == 'table' or size > RECOUNT then return end
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

