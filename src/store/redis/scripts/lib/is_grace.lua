-- Whether other software may write to the tenant (M7): its grace period is open, or there is no note of a migration,
-- so that nobody knows. What is missing never counts as the end of the period. A script calls this before its first
-- write, because reading a key that is moving to another node is an error. Where a `record` is given, it also returns
-- whether there is one, because one more key costs less than one more command.
local function is_grace(mark, prefix, record)
  local note = prefix .. 'broker:migration'
  -- The mark counts twice, and a record four times. So 1 means that there is the note alone.
  if not record then return redis.call('EXISTS', mark, mark, note) ~= 1 end
  local there = redis.call('EXISTS', mark, mark, note, record, record, record, record)
  return there % 4 ~= 1, there >= 4
end
