-- Returns which data this server holds, as an opaque text. It is another one at each server, after each promotion, and
-- when a server comes back with the data of another: a server gets a new replication id when it is promoted. It begins
-- with the 40 digits of the server's run id.
local function data_lineage()
  local run_id = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
  return run_id .. (string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)') or '')
end

