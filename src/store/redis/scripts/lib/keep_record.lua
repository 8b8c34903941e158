-- Keeps a record, if there is one, for ten minutes longer than its row, which lives for `ttl` ms from now on, a decimal
-- ('0': for ever). Where there is no row any more, it is called without `ttl`. `records.rs` has the same span. The row
-- may be written already, and no error may end the script now.
local function keep_record(record, ttl)
  if ttl == '0' then
    redis.pcall('PERSIST', record)
  else
    redis.pcall('PEXPIRE', record, string.format('%.0f', 600000 + (ttl or 0)))
  end
end
