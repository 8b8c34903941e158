-- uses: encode plain typed
-- Whether a user has a record, under the key that the broker gives it or the one that other software does.
local function is_user(prefix, user)
  if redis.call('EXISTS', prefix .. 'user:' .. encode(user)) == 1 then return true end
  local spelled = plain(user)
  -- A set there is another user's.
  return spelled ~= nil and (typed(redis.pcall('GETRANGE', prefix .. 'user:' .. spelled, '0', '0')) or '') ~= ''
end
