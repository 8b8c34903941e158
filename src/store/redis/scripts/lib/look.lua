-- uses: typed told
-- Returns version and user of a row, both as `listen` has them, or nil if there is no row or the value is `null`.
-- A row whose head isn't spelled as the broker spells it has to be told.
local function look(key)
  local spelling = '^{"version":([1-9]%d*),"user_id":"([ !#-[%]^-~]*)"[,}]'
  -- Redis hashes all bytes that a script reads, and most heads are short.
  local head = typed(redis.pcall('GETRANGE', key, '0', '127'))
  if head == nil then return '', '' end
  local version, user = string.match(head, spelling)
  if not version and #head == 128 then
    -- The largest head is 553 bytes long, as in label.rs.
    version, user = string.match(redis.call('GETRANGE', key, '0', '552'), spelling)
  end
  if version and #version <= 16 and tonumber(version) < 9007199254740992 then return version, user end
  if head == 'null' or head == '' and redis.call('EXISTS', key) == 0 then return nil end
  local row = told[key]
  -- uses: whole
  if row and row.sha == redis.sha1hex(whole(key) or '') then return row.version, row.user end
  -- uses: ask
  ask(key)
  return '', ''
end

