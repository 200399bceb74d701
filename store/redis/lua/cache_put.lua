-- KEYS entry, ends of all, purges. ARGV base, key, time to live, value, tags,
-- most entries.
local now = clock()
local over = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', int(now), 'LIMIT', 0, 50)
if #over > 0 then redis.call('ZREM', KEYS[2], unpack(over)) end
local seen = {redis.call('HGET', KEYS[3], '') or '0'}
for i, tag in ipairs(cjson.decode(ARGV[5])) do seen[i + 1] = redis.call('HGET', KEYS[3], tag) or '0' end
local expires = now + tonumber(ARGV[3])
redis.call('HSET', KEYS[1], 'value', ARGV[4], 'tags', ARGV[5], 'stored', int(now), 'expires', int(expires), 'seen', table.concat(seen, ' '))
redis.call('PEXPIREAT', KEYS[1], int(math.ceil(expires / 1000)))
redis.call('ZADD', KEYS[2], int(expires), ARGV[2])
local extra = redis.call('ZCARD', KEYS[2]) - tonumber(ARGV[6])
if extra > 0 then
  local first = redis.call('ZPOPMIN', KEYS[2], extra)
  for i = 1, #first, 2 do redis.call('DEL', ARGV[1] .. ':entry:' .. first[i]) end
end
outlive(KEYS[2], expires)
-- a purge is remembered as long as an entry that it hit could be there
if redis.call('EXISTS', KEYS[3]) == 1 then outlive(KEYS[3], expires + 1000000) end
return {'ok'}
