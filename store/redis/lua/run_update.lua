-- KEYS run. ARGV base, id, state, expires, data, revision.
local stands = redis.call('HMGET', KEYS[1], 'revision', 'expires')
if not stands[1] or stands[2] ~= '0' and tonumber(stands[2]) <= clock() then return {'not found'} end
if tonumber(stands[1]) ~= tonumber(ARGV[6]) then return {'conflict'} end
write(ARGV[1], ARGV[2], tonumber(ARGV[6]) + 1, ARGV[3], ARGV[4], ARGV[5])
sweep(ARGV[1])
return {'ok'}
