-- uses: typed
local function is_set(key)
  return typed(redis.pcall('SCARD', key)) ~= nil
end

