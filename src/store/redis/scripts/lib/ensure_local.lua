-- Ends the script if one of the keys, which aren't among KEYS, may be moving to another node. A script calls this before
-- its first write, because an error after that would leave half of the work done.
local function ensure_local(keys)
  if #keys > 0 then redis.call('EXISTS', unpack(keys)) end
end

