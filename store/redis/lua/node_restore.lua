-- Puts ids and records back into a store that came back empty.
-- KEYS records, ids, last id, version. ARGV channel, last id, number of ids,
-- then slug and id of each, then slug, revision, update and data of each record.
if redis.call('EXISTS', KEYS[1], KEYS[2], KEYS[3]) > 0 then return {'exists'} end
local first = 4 + 2 * tonumber(ARGV[3])
redis.call('SET', KEYS[3], ARGV[2])
local ids = {}
for i = 4, first - 1, 2 do
  ids[ARGV[i]] = ARGV[i + 1]
  redis.call('HSET', KEYS[2], ARGV[i], ARGV[i + 1])
end
for i = first, #ARGV, 4 do
  redis.call('HSET', KEYS[1], ARGV[i], ids[ARGV[i]] .. ' ' .. ARGV[i + 1] .. ' ' .. ARGV[i + 2] .. '\n' .. ARGV[i + 3])
end
changed(KEYS[4], ARGV[1])
return {'ok'}
