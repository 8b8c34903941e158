-- Returns the key of the record of a row.
local function record_of(row, prefix)
  return prefix .. 'broker:refresh:' .. string.sub(row, #prefix + #'upstream:' + 1)
end
