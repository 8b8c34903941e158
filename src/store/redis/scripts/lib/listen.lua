-- uses: told
-- Takes what the caller told: from this argument on key, SHA-1 of the bytes, version, user and '1' of each row. The
-- version is '' if the row can't be read, and the user '' if it has none or that can't be told. The '1' is missing if
-- the key isn't spelled as the broker spells it.
local function listen(first)
  for i = first, #ARGV, 5 do
    local sha, version, user, is_ours = unpack(ARGV, i + 1, i + 4)
    told[ARGV[i]] = { sha = sha, version = version, user = user, is_ours = is_ours == '1' }
  end
end
