-- Makes an index live at least as long as a row that is written already and lives for `ttl` ms, a decimal ('0': for
-- ever).
local function outlive(index, ttl, prefix, no_expiry)
  if ttl == '0' or no_expiry then
    redis.call('PERSIST', index)
    return
  end
  -- Since Redis 7, one command looks and extends. It leaves an index without an expiry alone. A server that only claims
  -- to be a Redis 7 may not know it.
  if redis.REDIS_VERSION_NUM and redis.pcall('PEXPIRE', index, ttl, 'GT') == 1 then return end
  local left = redis.call('PTTL', index)
  if left == -1 then
    -- uses: expire_with_members
    expire_with_members(index, prefix)
  elseif left < tonumber(ttl) then
    redis.call('PEXPIRE', index, ttl)
  end
end

