-- uses: typed
-- Whether `read` would find a row. Doesn't read a long value.
local function exists(key)
  local length = typed(redis.pcall('STRLEN', key))
  if length == 0 then return redis.call('EXISTS', key) == 1 end
  return length ~= 4 or redis.call('GET', key) ~= 'null'
end

