-- How many bytes pending authorizations take, as a text of the minutes in which they end: 'minute=bytes ...'. A sum alone would
-- keep what has expired. No authorization ends later than in an hour, so that the text is short, and what is wrong in it is
-- forgotten then.
local LAST = 61

-- Returns the bytes by minute, and their sum. Ends the script if the key holds another type of value.
local function sizes_in(key, now)
  local first = math.floor(now / 60000)
  local by_minute, sum = {}, 0
  for minute, bytes in string.gmatch(redis.call('GETRANGE', key, '0', '4095'), '(%d+)=(%d+)') do
    minute, bytes = tonumber(minute), tonumber(bytes)
    if minute >= first and minute <= first + LAST then
      by_minute[minute] = (by_minute[minute] or 0) + bytes
      sum = sum + bytes
    end
  end
  return by_minute, sum
end

-- Writes the bytes by minute, after `size` were added for what ends at `ends`, or taken off if it is negative.
local function keep_sizes(key, by_minute, now, ends, size)
  local first, at = math.floor(now / 60000), math.floor(ends / 60000)
  by_minute[at] = (by_minute[at] or 0) + size
  local parts = {}
  for minute = first, first + LAST do
    local bytes = by_minute[minute]
    if bytes and bytes > 0 then parts[#parts + 1] = string.format('%.0f=%.0f', minute, bytes) end
  end
  if parts[1] then
    redis.call('SET', key, table.concat(parts, ' '), 'PX', (LAST + 1) * 60000)
  else
    redis.call('DEL', key)
  end
end

-- What an authorization counts for: its JSON, and its key, which two sets hold, too.
local function size_of(key, bytes)
  return bytes + 3 * #key
end
