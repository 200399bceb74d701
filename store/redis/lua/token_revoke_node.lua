-- KEYS families of the node, API keys, their ends, revocations, their ends,
-- version. ARGV base, node, until, channel.
for _, family in ipairs(redis.call('SMEMBERS', KEYS[1])) do kill(ARGV[1], family) end
local keys = redis.call('HGETALL', KEYS[2])
for i = 1, #keys, 2 do
  local length, rest = keys[i + 1]:match('^%d+ (%d+) (.*)$')
  if rest:sub(1, tonumber(length)) == ARGV[2] then
    redis.call('HDEL', KEYS[2], keys[i])
    redis.call('ZREM', KEYS[3], keys[i])
  end
end
local now = clock()
local at = math.floor(now / 1000000)
local before = redis.call('HGET', KEYS[4], 'node:' .. ARGV[2])
if before then at = math.max(at, math.floor(tonumber(before:match('^%d+')) / 1000000) + 1) end
-- as far as it is ahead of the clock, so is what is revoked
local till = tonumber(ARGV[3]) + math.max(at * 1000000 - now, 0)
revoke(KEYS[4], KEYS[5], 'node:' .. ARGV[2], int(at * 1000000), int(till))
changed(KEYS[6], ARGV[4])
return {'ok'}
