-- Deletes all rows of a session in one step. What `GetAll` doesn't see stays, also in the index (I10).
--
-- KEYS  1 session index, 2 key of the grace period
-- ARGV  1 prefix of the tenant, 2 what the keys of the session's rows begin with, 3 '1' if the caller waits for
--       replicas, 4... what the caller was asked to tell
-- Returns { number of deleted rows, number of members that are not rows of this session }, or asks.
-- uses: latest listen look is_row_of is_grace user_index ensure_local index_remove each_batch record_of
listen(4)
local index, prefix = KEYS[1], ARGV[1]
-- The session's rows and the other members that are spelled so, and the rows by user index.
local own, by_index, indexes, records, deleted, foreign = {}, {}, {}, {}, 0, 0
for _, member in ipairs(redis.call('SMEMBERS', index)) do
  if is_row_of(member, ARGV[2]) then
    own[#own + 1] = member
    local version, user = look(member)
    if version then
      deleted = deleted + 1
      records[deleted] = record_of(member, prefix)
    end
    local of = version and user_index(prefix, user)
    if of then
      if not by_index[of] then
        by_index[of] = {}
        indexes[#indexes + 1] = of
      end
      table.insert(by_index[of], member)
    end
  else
    foreign = foreign + 1
  end
end
if untold then return untold end
if #own == 0 then
  -- uses: fence
  fence(ARGV[3], prefix)
  return { 0, foreign }
end
-- Everything that may end the script comes before the first write.
each_batch(indexes, ensure_local)
local grace = is_grace(KEYS[2], prefix)
local has_records = false
each_batch(records, function(batch) has_records = redis.call('EXISTS', unpack(batch)) > 0 or has_records end)
each_batch(own, function(rows)
  redis.call('DEL', unpack(rows))
  index_remove(index, rows, prefix, false)
end)
for of, rows in pairs(by_index) do
  each_batch(rows, function(batch) index_remove(of, batch, prefix, grace) end)
end
if has_records then
  -- uses: keep_record
  for _, record in ipairs(records) do keep_record(record) end
end
return { deleted, foreign }
