-- uses: whole told
-- Returns the user that an identity leads to, and the identity's bytes. The user is '' if it can't be told. Returns nil if
-- there is no identity. What isn't spelled as toolhive and the broker spell it has to be told.
local function linked(key)
  local text = '"[ !#-[%]^-~]*"'
  local spelling = '^{"user_id":"([ !#-[%]^-~]+)","provider_id":' .. text .. ',"provider_subject":' .. text
    .. ',"linked_at":%d+,"last_used_at":%d+}$'
  local bytes = whole(key)
  if bytes == nil then return '', '' end
  if not bytes then return nil end
  local user = string.match(bytes, spelling)
  if user then return user, bytes end
  local row = told[key]
  if row and row.sha == redis.sha1hex(bytes) then return row.user, bytes end
  -- uses: ask
  ask(key)
  return '', bytes
end
