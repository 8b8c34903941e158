-- uses: encode
-- Returns how other software, which encodes nothing, spells an id in a key, or nil if that is how the broker spells this id or
-- another one, as keyspace/spelling.rs does.
local function plain(id)
  if encode(id) == id then return nil end
  if string.find(id, '[%z\1-\32:{}\127]') then return id end
  local decoded = string.gsub(id, '%%(%x%x)', function(hex) return string.char(tonumber(hex, 16)) end)
  return encode(decoded) ~= id and id or nil
end
