-- KEYS records, trial calls, version. ARGV node, generation, record, channel.
local stands = generation(KEYS[1], ARGV[1])
if stands ~= tonumber(ARGV[2]) then return {'conflict'} end
local head = int(stands + 1) .. ' ' .. int(clock())
redis.call('HSET', KEYS[1], ARGV[1], head .. '\n' .. ARGV[3])
redis.call('DEL', KEYS[2])
changed(KEYS[3], ARGV[4])
return {'ok', head}
