-- KEYS nodes. ARGV base, limit, and the node when it is one.
local lines = {}
for _, node in ipairs(ARGV[3] and {ARGV[3]} or redis.call('SMEMBERS', KEYS[1])) do
  for _, line in ipairs(redis.call('LRANGE', ARGV[1] .. ':log:' .. node, 0, tonumber(ARGV[2]) - 1)) do lines[#lines + 1] = line end
end
return {'ok', lines}
