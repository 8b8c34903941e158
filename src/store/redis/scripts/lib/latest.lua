-- A script's last argument, behind those that its own comment lists: the latest time at which it may begin, in
-- microseconds of this server's clock, or '' if it doesn't matter. A request can arrive long after the broker has given
-- it up, and others may have written meanwhile.
local latest = table.remove(ARGV)
if latest and latest ~= '' then
  local time = redis.call('TIME')
  if time[1] * 1000000 + time[2] > tonumber(latest) then
    return redis.error_reply('LATE ' .. time[1] .. string.format('%06d', time[2]))
  end
end

