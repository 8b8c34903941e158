-- uses: whole
local function ask(key)
  untold = untold or { 'tell' }
  untold[#untold + 1] = key
  untold[#untold + 1] = whole(key) or ''
end

