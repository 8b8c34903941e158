-- Writes a record, and the row if there is a new one, if neither has changed since the caller read them. Never brings
-- back a row that is gone (I4).
--
-- KEYS  1 row, 2 record, then only with a new row that has another life: 3 session index, 4 key of the grace period,
--       5 user index (only with a user)
-- ARGV  1 prefix of the tenant, 2 what the row's key held: the SHA-1 of the bytes, '' for nothing, or 'other',
--       3 number of the record's last change, or '' if there was no record, 4 number of this change, 5 row as JSON, or
--       '' if it stays, 6 ms that the row is kept from now on, 0 for ever, or '' for as long as before, 7 channel on
--       which the end of an attempt is announced, or '', 8 what is announced, 9 key of the grace period if the row is
--       sealed, or '', 10 number of the record's fields that go, then these, then name and value of each field that is
--       written
-- Returns 'written', 'changed' or 'grace'.
-- uses: latest typed holds keep_record
local row, record, prefix, seen = KEYS[1], KEYS[2], ARGV[1], ARGV[2]
local json, ttl = ARGV[5], ARGV[6]

local is_same = holds(row, seen)
if is_same == nil then is_same = seen == 'other' end
-- A record of another type has no number that was seen.
local known = typed(redis.pcall('HMGET', record, 'change'))
if not is_same or (known and known[1] or '') ~= ARGV[3] then return 'changed' end
-- SHA-1 of `null`: no reader sees such a row.
local is_null = seen == '2be88ca4242c76e8253ac62474851065032d6833'
if json == '' or ttl == '' then
  local left = redis.call('PTTL', row)
  -- On Redis 6.2 the clock goes on during a script.
  if left == -2 and seen ~= '' then return 'changed' end
  ttl = left == -1 and '0' or string.format('%.0f', math.max(left, 1))
  if left == -2 or is_null then ttl = nil end
end
local first = 11 + ARGV[10]
local with_indexes = json ~= '' and #KEYS > 2
-- uses: is_grace
local grace = with_indexes and KEYS[5] and is_grace(KEYS[4], prefix)
-- Other software would take an envelope for a row without tokens.
if ARGV[9] ~= '' and is_grace(ARGV[9], prefix) then return 'grace' end

-- This is the write that Redis refuses when it is out of memory, or when the key holds another type. It comes first, so
-- that nothing is written then.
redis.call('HSET', record, 'change', ARGV[4], unpack(ARGV, first))
if first > 11 then redis.call('HDEL', record, unpack(ARGV, 11, first - 1)) end
keep_record(record, ttl)
-- With XX, a row that has just expired doesn't come back.
if json ~= '' and ARGV[6] == '' then
  redis.call('SET', row, json, 'KEEPTTL', 'XX')
elseif json ~= '' and ttl == '0' then
  redis.call('SET', row, json, 'XX')
elseif json ~= '' then
  redis.call('SET', row, json, 'PX', ttl, 'XX')
end
if with_indexes then
  -- uses: outlive
  outlive(KEYS[3], ttl, prefix, false)
  if KEYS[5] then outlive(KEYS[5], ttl, prefix, grace) end
end
-- Who waits looks from time to time anyway. Without the right to announce, the rest still works.
if ARGV[7] ~= '' then redis.pcall('PUBLISH', ARGV[7], ARGV[8]) end
return 'written'
