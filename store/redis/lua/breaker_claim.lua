-- KEYS records, trial calls. ARGV node, generation, owner, most, hold.
local stands = generation(KEYS[1], ARGV[1])
if stands == 0 or stands ~= tonumber(ARGV[2]) then return {'conflict'} end
local now = clock()
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', int(now))
if redis.call('ZSCORE', KEYS[2], ARGV[3]) or redis.call('ZCARD', KEYS[2]) >= tonumber(ARGV[4]) then return {'held'} end
local till = now + tonumber(ARGV[5])
redis.call('ZADD', KEYS[2], int(till), ARGV[3])
outlive(KEYS[2], till)
return {'ok'}
