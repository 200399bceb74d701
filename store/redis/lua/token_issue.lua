-- KEYS refresh token. ARGV base, hash, family, generation, node, expires.
if redis.call('EXISTS', KEYS[1]) == 1 then return {'exists'} end
store(ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6])
return {'ok'}
