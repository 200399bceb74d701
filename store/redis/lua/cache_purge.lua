-- KEYS purges, ends of all. ARGV tag.
local last = redis.call('ZRANGE', KEYS[2], -1, -1, 'WITHSCORES')[2]
if not last then return {'ok'} end
redis.call('HINCRBY', KEYS[1], ARGV[1], 1)
outlive(KEYS[1], tonumber(last) + 1000000)
return {'ok'}
