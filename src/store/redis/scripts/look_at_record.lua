-- Reads a row, its record and the clock as of one instant. Writes nothing.
--
-- KEYS  1 row, 2 record, 3 key of the grace period
-- ARGV  1 prefix of the tenant
-- Returns { what the row's key holds: 'nothing', 'bytes' or 'other', the bytes or '', seconds and microseconds of the
--           clock, 1 if other software may write to the tenant, the record's fields: name, value, name, value, ... }.
-- Instead of the fields, it returns 'other' if the record's key holds another type.
-- uses: typed is_grace
local bytes = typed(redis.pcall('GET', KEYS[1]))
local kind = bytes and 'bytes' or bytes == false and 'nothing' or 'other'
local time = redis.call('TIME')
local grace = is_grace(KEYS[3], ARGV[1]) and 1 or 0
return { kind, bytes or '', time[1], time[2], grace, typed(redis.pcall('HGETALL', KEYS[2])) or 'other' }
