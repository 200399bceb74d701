-- KEYS nodes. ARGV base, most lines of a node, time to live in milliseconds,
-- then node, number of lines and the lines, the oldest first.
local i = 4
while i <= #ARGV do
  local node, n = ARGV[i], tonumber(ARGV[i + 1])
  local log = ARGV[1] .. ':log:' .. node
  i = i + 2
  for first = i, i + n - 1, 1000 do -- Lua unpacks no more than some thousands
    redis.call('LPUSH', log, unpack(ARGV, first, math.min(first + 999, i + n - 1)))
  end
  redis.call('LTRIM', log, 0, tonumber(ARGV[2]) - 1)
  redis.call('PEXPIRE', log, ARGV[3])
  redis.call('SADD', KEYS[1], node)
  i = i + n
end
if i > 4 then redis.call('PEXPIRE', KEYS[1], ARGV[3]) end
return {'ok'}
