-- KEYS refresh token, revocations.
-- ARGV base, hash, family, generation, node, expires, number of the node, epoch.
if redis.call('EXISTS', KEYS[1]) == 1 then return {'exists'} end
if outdated(KEYS[2], ARGV[5], ARGV[8]) then return {'revoked'} end
store(ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7], ARGV[8])
return {'ok'}
