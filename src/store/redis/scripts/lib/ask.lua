-- uses: typed
local function ask(key)
  untold = untold or { 'tell' }
  untold[#untold + 1] = key
  untold[#untold + 1] = typed(redis.pcall('GET', key)) or ''
end

