-- Whether scripts can write. Changes nothing: the key doesn't exist, and is only written if it does.
--
-- KEYS  1 a key that holds nothing
-- Returns 1, or the error that an operator has to help with. When Redis is out of memory, deletes still work. Too few
-- replicas are a state that passes.
if redis.call('EXISTS', KEYS[1]) == 1 then return 1 end
local answer = redis.pcall('SET', KEYS[1], '1', 'XX')
if type(answer) == 'table' and answer.err and not string.find(answer.err, 'OOM', 1, true)
    and not string.find(answer.err, 'NOREPLICAS', 1, true) then
  return answer
end
return 1
