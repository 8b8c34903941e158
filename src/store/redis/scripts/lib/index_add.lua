-- uses: outlive
-- Adds a row to an index. The row is already written and lives for `ttl` ms, a decimal ('0': for ever). Afterwards
-- the index lives at least as long as the row.
local function index_add(index, member, ttl, prefix, no_expiry)
  local is_new = redis.call('EXISTS', index) == 0
  redis.call('SADD', index, member)
  if not is_new then
    outlive(index, ttl, prefix, no_expiry)
  elseif ttl ~= '0' and not no_expiry then
    redis.call('PEXPIRE', index, ttl)
  end
end

