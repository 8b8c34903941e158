-- uses: typed
-- Returns the bytes of a string, false if there is none, and nil if the key holds something else. Of a value that is larger
-- than LARGEST_VALUE bytes, which stands for a number, it returns what `largest.rs` has in its place.
local function whole(key)
  local bytes = typed(redis.pcall('GETRANGE', key, '0', 'LARGEST_VALUE'))
  if bytes == '' then return redis.call('EXISTS', key) == 1 and '' end
  if bytes and #bytes > LARGEST_VALUE then return '\0too large' end
  return bytes
end
