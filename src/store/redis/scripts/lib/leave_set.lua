-- uses: encode plain
-- Takes identities out of a user's set, in both spellings. What is no set is left alone.
local function leave_set(prefix, user, ...)
  local spelled = plain(user)
  redis.pcall('SREM', prefix .. 'user:providers:' .. encode(user), ...)
  if spelled then redis.pcall('SREM', prefix .. 'user:providers:' .. spelled, ...) end
end
