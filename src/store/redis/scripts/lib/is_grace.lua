-- uses: typed
-- Whether other software may write to the tenant (M7): its grace period is open, or there is no note of a migration,
-- so that nobody knows. What is missing never counts as the end of the period, and neither does a note that is no string
-- or an empty one. A mark of any type counts. `maintenance/grace.rs` judges in the same way. A script calls this before its
-- first write, because reading a key that is moving to another node is an error. Where a `record` is given, it also
-- returns whether there is one, because one more key costs less than one more command.
local function is_grace(mark, prefix, record)
  local note = typed(redis.pcall('STRLEN', prefix .. 'broker:migration')) or 0
  if not record then return note == 0 or redis.call('EXISTS', mark) == 1 end
  -- The record counts twice.
  local there = redis.call('EXISTS', mark, record, record)
  return note == 0 or there % 2 == 1, there >= 2
end
