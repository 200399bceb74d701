-- KEYS ids, last id. ARGV highest id seen, then slugs, in the order in which new
-- ones are numbered.
if emptied(KEYS[2], ARGV[1]) then return {'emptied'} end
local ids = {'ok'}
for i = 2, #ARGV do
  local slug = ARGV[i]
  local id = redis.call('HGET', KEYS[1], slug)
  if not id then
    id = int(redis.call('INCR', KEYS[2]))
    redis.call('HSET', KEYS[1], slug, id)
  end
  ids[i] = id
end
return ids
