-- The version is the number of the last event.
-- KEYS log, version. ARGV event, most events, channel.
local sequence, now = redis.call('INCR', KEYS[2]), clock()
redis.call('RPUSH', KEYS[1], int(sequence) .. ' ' .. int(now) .. '\n' .. ARGV[1])
redis.call('LTRIM', KEYS[1], -tonumber(ARGV[2]), -1)
redis.pcall('PUBLISH', ARGV[3], int(sequence))
return {'ok', int(sequence), int(now)}
