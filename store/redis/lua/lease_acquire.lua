-- KEYS records, last fence, ends. ARGV name, owner, time to live.
local now = clock()
local expires, fence, owner = standing(KEYS[1], ARGV[1], now)
if owner and owner ~= ARGV[2] then return {'held', expires, fence, owner} end
for _, over in ipairs(redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', int(now), 'LIMIT', 0, 50)) do
  redis.call('ZREM', KEYS[3], over)
  redis.call('HDEL', KEYS[1], over)
end
-- one counter for all names, so that a fence never falls back
if not owner then fence = int(redis.call('INCR', KEYS[2])) end
expires = int(now + tonumber(ARGV[3]))
redis.call('HSET', KEYS[1], ARGV[1], expires .. ' ' .. fence .. ' ' .. ARGV[2])
redis.call('ZADD', KEYS[3], expires, ARGV[1])
outlive(KEYS[1], tonumber(expires))
outlive(KEYS[3], tonumber(expires))
return {'ok', expires, fence, ARGV[2]}
