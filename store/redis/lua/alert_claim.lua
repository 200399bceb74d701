-- KEYS state, heads, queue. ARGV webhook, time to live, oldest that counts.
local now = clock()
local item, sequence = first(KEYS[3])
while item and tonumber(item:match('^%d+ (%d+) ')) <= now - tonumber(ARGV[3]) do
  redis.call('LPOP', KEYS[3])
  item, sequence = first(KEYS[3])
end
if not item then
  redis.call('HDEL', KEYS[2], ARGV[1])
  return {'not found'}
end
local _, taken, attempts = head(KEYS[2], ARGV[1], sequence)
if taken and taken > now then return {'not found'} end
local claim = int(redis.call('HINCRBY', KEYS[1], 'claims', 1))
attempts = int((attempts or 0) + 1)
redis.call('HSET', KEYS[2], ARGV[1], table.concat({sequence, claim, int(now + tonumber(ARGV[2])), attempts}, ' '))
return {'ok', item, claim, attempts}
