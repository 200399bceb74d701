-- KEYS records, ends. ARGV name, owner.
local _, _, owner = standing(KEYS[1], ARGV[1], clock())
if not owner then return {'not found'} end
if owner ~= ARGV[2] then return {'conflict'} end
redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('ZREM', KEYS[2], ARGV[1])
return {'ok'}
