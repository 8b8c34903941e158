-- Makes an index live at least as long as a row that is written already and lives for `ttl` ms, a decimal ('0': for
-- ever).
local function outlive(index, ttl, prefix, no_expiry)
  if ttl == '0' or no_expiry then
    redis.call('PERSIST', index)
    return
  end
  local left
  if redis.REDIS_VERSION_NUM then
    -- Since Redis 7, one command looks and extends. It leaves an index without an expiry alone.
    if redis.call('PEXPIRE', index, ttl, 'GT') == 1 then return end
    left = redis.call('PTTL', index)
  else
    left = redis.call('PTTL', index)
    if left ~= -1 and left < tonumber(ttl) then redis.call('PEXPIRE', index, ttl) end
  end
  if left == -1 then
    -- uses: expire_with_members
    expire_with_members(index, prefix)
  end
end

