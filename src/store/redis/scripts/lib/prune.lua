-- uses: starts_with
-- Looks at `probes` random members of an index, and removes those whose row is gone. Leaves members outside of `prefix`
-- alone (I10), and members that can't be read. First one EXISTS tells whether there is anything to remove, because
-- mostly there is not.
local function prune(index, prefix, probes)
  local own = {}
  -- With a negative number, a member may come twice. This spares Redis a copy of a small set.
  for _, member in ipairs(redis.call('SRANDMEMBER', index, -probes)) do
    if starts_with(member, prefix) then own[#own + 1] = member end
  end
  if #own == 0 then return end
  local alive = redis.pcall('EXISTS', unpack(own))
  if type(alive) == 'table' or alive == #own then return end
  for _, member in ipairs(own) do
    if redis.pcall('EXISTS', member) == 0 then redis.call('SREM', index, member) end
  end
end

