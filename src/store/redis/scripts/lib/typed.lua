-- Returns the answer of a command, or nil if its key holds a value of another type. Any other error ends the
-- script, most of all the error for a key that is moving to another node of a cluster.
local function typed(answer)
  if type(answer) ~= 'table' or not answer.err then return answer end
  if not string.find(answer.err, 'WRONGTYPE', 1, true) then error(answer.err) end
  return nil
end

