-- Returns the spelling of an id in a key, as keyspace/spelling.rs does.
local function encode(id)
  return (string.gsub(id, '[%z\1-\32%%:{}\127]', function(c)
    return string.format('%%%02X', string.byte(c))
  end))
end

