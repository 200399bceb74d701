-- KEYS members. ARGV id, data, time to live.
local now = clock()
local expires = now + tonumber(ARGV[3])
redis.call('HSET', KEYS[1], ARGV[1], int(expires) .. ' ' .. int(now) .. '\n' .. ARGV[2])
outlive(KEYS[1], expires)
local all, alive = redis.call('HGETALL', KEYS[1]), {}
for i = 1, #all, 2 do
  if tonumber(all[i + 1]:match('^%d+')) > now then
    alive[#alive + 1] = all[i]
    alive[#alive + 1] = all[i + 1]
  else
    redis.call('HDEL', KEYS[1], all[i])
  end
end
return {'ok', int(now), alive}
