-- KEYS records, trial calls. ARGV node, generation, owner.
local stands = generation(KEYS[1], ARGV[1])
if stands == 0 or stands ~= tonumber(ARGV[2]) then return {'conflict'} end
redis.call('ZREM', KEYS[2], ARGV[3])
return {'ok'}
