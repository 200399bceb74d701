-- KEYS entry, purges.
local entry = redis.call('HMGET', KEYS[1], 'value', 'tags', 'stored', 'expires', 'seen')
if not entry[1] or tonumber(entry[4]) <= clock() then return {'not found'} end
local tags, i = cjson.decode(entry[2]), 0
for seen in entry[5]:gmatch('%d+') do -- how often the tags had been purged, of all first
  if (redis.call('HGET', KEYS[2], tags[i] or '') or '0') ~= seen then return {'not found'} end
  i = i + 1
end
return {'ok', entry[1], entry[2], entry[3], entry[4]}
