-- uses: whole
-- Whether a key holds a string with this SHA-1, or nothing if `sha` is ''. Returns nil if the key holds
-- something else.
local function holds(key, sha)
  local bytes = whole(key)
  if bytes == nil then return nil end
  if not bytes then return sha == '' end
  return sha ~= '' and redis.sha1hex(bytes) == sha
end

