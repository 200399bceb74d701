-- KEYS API keys, their ends, version. ARGV hash, channel.
if redis.call('HDEL', KEYS[1], ARGV[1]) == 0 then return {'not found'} end
redis.call('ZREM', KEYS[2], ARGV[1])
changed(KEYS[3], ARGV[2])
return {'ok'}
