-- Replaces a row by the same one, sealed with another key, unless it has changed since the caller read it. Its life, its
-- version and its indexes stay as they are.
--
-- KEYS  1 row, 2 key of the grace period
-- ARGV  1 prefix of the tenant, 2 SHA-1 of the row that the caller read, 3 row as JSON
-- Returns 'written', 'changed' or 'grace'.
-- uses: latest holds is_grace
if not holds(KEYS[1], ARGV[2]) then return 'changed' end
-- Other software would take an envelope for a row without tokens.
if is_grace(KEYS[2], ARGV[1]) then return 'grace' end
-- With XX, a row that has just expired doesn't come back.
redis.call('SET', KEYS[1], ARGV[3], 'KEEPTTL', 'XX')
return 'written'
