-- KEYS records, ids, last id, version. ARGV slug, revision, data, channel,
-- highest id seen, id or 0 for a new one.
if emptied(KEYS[3], ARGV[5]) then return {'emptied'} end
local stands = redis.call('HGET', KEYS[1], ARGV[1])
local expected, revision = tonumber(ARGV[2]), 0
if stands then
  if expected == 0 then return {'exists'} end
  revision = tonumber(stands:match('^%d+ (%d+) '))
end
if revision ~= expected then return {'conflict'} end
local id = ARGV[6]
if id == '0' then
  id = int(redis.call('INCR', KEYS[3]))
  redis.call('HSET', KEYS[2], ARGV[1], id)
elseif redis.call('HGET', KEYS[2], ARGV[1]) ~= id then
  return {'conflict'}
end
local head = id .. ' ' .. int(revision + 1) .. ' ' .. int(clock())
redis.call('HSET', KEYS[1], ARGV[1], head .. '\n' .. ARGV[3])
changed(KEYS[4], ARGV[4])
return {'ok', head}
