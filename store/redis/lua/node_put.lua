-- KEYS records, ids, last id, version. ARGV slug, revision, data, channel,
-- highest id seen.
if emptied(KEYS[3], ARGV[5]) then return {'emptied'} end
local stands = redis.call('HGET', KEYS[1], ARGV[1])
local expected, revision = tonumber(ARGV[2]), 0
if stands then
  if expected == 0 then return {'exists'} end
  revision = tonumber(stands:match('^%d+ (%d+) '))
end
if revision ~= expected then return {'conflict'} end
local id = redis.call('HGET', KEYS[2], ARGV[1])
if not id then
  id = redis.call('INCR', KEYS[3])
  redis.call('HSET', KEYS[2], ARGV[1], int(id))
end
local head = int(tonumber(id)) .. ' ' .. int(revision + 1) .. ' ' .. int(clock())
redis.call('HSET', KEYS[1], ARGV[1], head .. '\n' .. ARGV[3])
changed(KEYS[4], ARGV[4])
return {'ok', head}
