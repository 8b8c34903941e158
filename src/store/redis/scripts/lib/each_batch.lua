-- Calls `work` with parts of a list, because Lua passes only some thousand arguments at once.
local function each_batch(list, work)
  for i = 1, #list, 1000 do
    work({ unpack(list, i, math.min(i + 999, #list)) })
  end
end

