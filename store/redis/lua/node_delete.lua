-- KEYS records, ids, version, last id. ARGV slug, revision, channel, highest id seen.
if emptied(KEYS[4], ARGV[4]) then return {'emptied'} end
local stands = redis.call('HGET', KEYS[1], ARGV[1])
if not stands then return {'not found'} end
local expected = tonumber(ARGV[2])
if expected ~= 0 and expected ~= tonumber(stands:match('^%d+ (%d+) ')) then return {'conflict'} end
redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('HDEL', KEYS[2], ARGV[1])
changed(KEYS[3], ARGV[3])
return {'ok'}
