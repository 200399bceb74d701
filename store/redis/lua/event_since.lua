-- KEYS log, version. ARGV sequence, limit.
local length = redis.call('LLEN', KEYS[1])
local first = tonumber(redis.call('GET', KEYS[2]) or '0') - length + 1
local from = math.max(tonumber(ARGV[1]) + 1 - first, 0)
return {'ok', redis.call('LRANGE', KEYS[1], int(from), int(from + tonumber(ARGV[2]) - 1))}
