-- Reads a part of a user's index, about as large as what was asked for. Removes members whose key is gone (I5). On a
-- replica it only reads.
--
-- A cursor means something only to the process that gave it, whose run id is in the position. If another server
-- answers, it begins anew. A small index, and now and then a few members of a large one, come all at once whatever
-- is asked for. Such a batch is given in the order of hashes, so that a position may lie within it. The position
-- says where the batch ended. If it ends elsewhere, the index has changed, and all of the batch is given again:
-- a member may come twice, and none is left out.
--
-- KEYS  1 index
-- ARGV  1 what the members that count begin with, 2 how many members to give at most, 3 server of the position, or ''
--       to begin, 4 cursor, 5 COUNT of the batch, 6 cursor after the batch, 7 last hash that was given, or '' if the
--       position lies between two batches
-- Returns { the lineage, the next position in the form of arguments 3 to 7, number of members that don't count,
--           member, ... }. The position's cursor is '' at the end.
-- uses: data_lineage starts_with
local LARGEST = 500
local index, own, most = KEYS[1], ARGV[1], tonumber(ARGV[2])
local lineage = data_lineage()
local run_id = string.sub(lineage, 1, 40)
local server = string.sub(run_id, 1, 16)

local cursor, count, stop, after = '0', nil, '', nil
if ARGV[3] == server then
  cursor, stop, after = ARGV[4], ARGV[6], tonumber(ARGV[7])
  if after then count = tonumber(ARGV[5]) end
end

-- The first 52 bits of a hash. Nobody can guess a member from it, because the run id isn't known.
local function hash(member)
  return tonumber(string.sub(redis.sha1hex(run_id .. member), 1, 13), 16)
end

local members, foreign, seen, idle = {}, 0, 0, 1
while true do
  local left = most - #members
  count = count or math.min(math.max(math.floor(left / 2), 1) * idle, LARGEST)
  local page = redis.call('SSCAN', index, cursor, 'COUNT', count)
  local batch, hashes = page[2], nil
  if page[1] ~= stop then after = nil end
  if after or #batch > left then
    hashes = {}
    for _, member in ipairs(batch) do hashes[member] = hash(member) end
    table.sort(batch, function(a, b) return hashes[a] < hashes[b] end)
  end
  -- Mostly all members of a batch have a row. One EXISTS tells.
  local are_alive = false
  if not hashes then
    local counting = {}
    for _, member in ipairs(batch) do
      if starts_with(member, own) then counting[#counting + 1] = member end
    end
    are_alive = #counting > 0 and redis.call('EXISTS', unpack(counting)) == #counting
  end
  -- Without its dead members a batch could end elsewhere, unless it reaches to the end of the index.
  local prunes = not hashes or page[1] == '0'
  for i, member in ipairs(batch) do
    if not after or hashes[member] > after then
      if #members == most then
        local last = string.format('%.0f', hashes[batch[i - 1]])
        return { lineage, server, cursor, tostring(count), page[1], last, foreign, unpack(members) }
      end
      if not starts_with(member, own) then
        foreign = foreign + 1
      elseif are_alive or redis.call('EXISTS', member) == 1 then
        members[#members + 1] = member
      elseif prunes then
        redis.pcall('SREM', index, member)
      end
    end
  end
  seen, idle = seen + #batch, #batch == 0 and idle * 2 or 1
  cursor, count, after = page[1], nil, nil
  if cursor == '0' then cursor = '' end
  if cursor == '' or #members == most or seen >= most + LARGEST or idle > LARGEST then break end
end
return { lineage, server, cursor, '', '', '', foreign, unpack(members) }
