-- KEYS records, ids, version, last id. ARGV slug, revision, channel, highest id seen.
if emptied(KEYS[4], ARGV[4]) then return {'emptied'} end
local stands = redis.call('HGET', KEYS[1], ARGV[1])
local expected = tonumber(ARGV[2])
if not stands then
  -- a slug may have an id alone
  if expected ~= 0 or redis.call('HDEL', KEYS[2], ARGV[1]) == 0 then return {'not found'} end
  changed(KEYS[3], ARGV[3])
  return {'ok'}
end
if expected ~= 0 and expected ~= tonumber(stands:match('^%d+ (%d+) ')) then return {'conflict'} end
redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('HDEL', KEYS[2], ARGV[1])
changed(KEYS[3], ARGV[3])
return {'ok'}
