-- uses: starts_with
-- Whether `member` is spelled as a row of the session whose rows begin with `own`. `GetAll` sees no other member. A
-- spelling that isn't plain has to be told.
local function is_row_of(member, own)
  if not starts_with(member, own) then return false end
  if string.find(member, '^[!-$&-9;-z|~]+$', #own + 1) then return true end
  -- uses: ask
  if not told[member] then ask(member) end
  return told[member] and told[member].is_ours
end

