-- KEYS identity, format. ARGV identity to take when there is none, format.
local format = redis.call('GET', KEYS[2])
if format and format ~= ARGV[2] then return {'corrupt', format} end
local identity = redis.call('GET', KEYS[1])
if identity and format then return {'ok', identity, 0} end
redis.call('SET', KEYS[2], ARGV[2])
if identity then return {'ok', identity, 0} end
redis.call('SET', KEYS[1], ARGV[1])
return {'ok', ARGV[1], 1}
