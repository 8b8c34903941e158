-- Checks that a key which says how large pending authorizations are holds a text. Deletes it if it doesn't: `Create` begins it
-- anew.
--
-- KEYS  1 the key
-- ARGV  1 '1' to repair, '' to only look
-- Returns 1 if it holds another type of value, or else 0.
-- uses: latest typed
if typed(redis.pcall('STRLEN', KEYS[1])) then return 0 end
if ARGV[1] == '1' then redis.call('DEL', KEYS[1]) end
return 1
