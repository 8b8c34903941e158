-- uses: encode
-- Returns the index of a user, or nil if there is no user.
local function user_index(prefix, user)
  if user == '' then return nil end
  return prefix .. 'user:upstream:' .. encode(user)
end

