-- Whether other software may write to the tenant (M7): its grace period is open, or there is no note of a migration,
-- so that nobody knows. What is missing never counts as the end of the period. A script calls this before its first
-- write, because reading a key that is moving to another node is an error.
local function is_grace(mark, prefix)
  -- The mark counts twice. So 1 means that there is the note alone.
  return redis.call('EXISTS', mark, mark, prefix .. 'broker:migration') ~= 1
end

