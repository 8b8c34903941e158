-- Reads a row, its record and the clock as of one instant. Writes nothing.
--
-- KEYS  1 row, 2 record, 3 key of the grace period
-- ARGV  1 prefix of the tenant
-- Returns { what the row's key holds: 'nothing', 'bytes' or 'other', the bytes or '', seconds and microseconds of the
--           clock, 1 if other software may write to the tenant, the lineage or '', the record's fields: name,
--           value, name, value, ... }.
-- Instead of the fields, it returns 'other' if the record's key holds another type.
-- The lineage costs two INFO. It is told only if the lease of a token that is open is over: then somebody may take the
-- token over. It isn't told either if Redis refuses INFO: a result can still be written then.
-- uses: typed is_grace whole
local bytes = whole(KEYS[1])
local kind = bytes and 'bytes' or bytes == false and 'nothing' or 'other'
local time = redis.call('TIME')
local grace = is_grace(KEYS[3], ARGV[1]) and 1 or 0
local fields = typed(redis.pcall('HGETALL', KEYS[2])) or 'other'
local lineage = ''
if type(fields) == 'table' then
  local now = time[1] * 1000 + math.floor(time[2] / 1000)
  for _, value in ipairs(fields) do
    local lease_ends = string.match(value, '^{"state":"open".-"lease_ends":(%d+)')
    if lease_ends and tonumber(lease_ends) <= now then
      -- uses: data_lineage
      local is_known, told = pcall(data_lineage)
      lineage = is_known and told or ''
      break
    end
  end
end
return { kind, bytes or '', time[1], time[2], grace, lineage, fields }
