-- uses: whole
-- Returns the bytes of a row. Returns false if there is no row or the value is `null`, and '' if the key
-- holds something other than a string.
local function read(key)
  local bytes = whole(key)
  if bytes == nil then return '' end
  if bytes == 'null' then return false end
  return bytes
end
