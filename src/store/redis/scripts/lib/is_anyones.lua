-- Whether it can't be told whose a row is.
local function is_anyones(version, user)
  return version == '' and user == ''
end

