-- A sequence above the last one is of a server that was emptied since.
-- KEYS log, version. ARGV sequence, limit.
local length, last = redis.call('LLEN', KEYS[1]), tonumber(redis.call('GET', KEYS[2]) or '0')
local sequence = tonumber(ARGV[1])
if sequence > last then sequence = 0 end
local from = math.max(sequence - last + length, 0)
return {'ok', redis.call('LRANGE', KEYS[1], int(from), int(from + tonumber(ARGV[2]) - 1))}
