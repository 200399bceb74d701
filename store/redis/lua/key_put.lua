-- KEYS API keys, their ends, version, revocations.
-- ARGV hash, expires, record, channel, node, epoch.
for _, over in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', int(clock()), 'LIMIT', 0, 100)) do
  redis.call('ZREM', KEYS[2], over)
  redis.call('HDEL', KEYS[1], over)
end
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 1 then return {'exists'} end
if outdated(KEYS[4], ARGV[5], ARGV[6]) then return {'revoked'} end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
if ARGV[2] ~= '0' then redis.call('ZADD', KEYS[2], ARGV[2], ARGV[1]) end
changed(KEYS[3], ARGV[4])
return {'ok'}
