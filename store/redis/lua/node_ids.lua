-- KEYS ids, last id. ARGV slugs, in the order in which new ones are numbered.
local ids = {'ok'}
for i, slug in ipairs(ARGV) do
  local id = redis.call('HGET', KEYS[1], slug)
  if not id then
    id = int(redis.call('INCR', KEYS[2]))
    redis.call('HSET', KEYS[1], slug, id)
  end
  ids[i + 1] = id
end
return ids
