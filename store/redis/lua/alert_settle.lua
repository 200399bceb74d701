-- KEYS heads, queue. ARGV webhook, sequence, claim, and when it is postponed
-- for how long.
local _, sequence = first(KEYS[2])
if sequence ~= ARGV[2] then return {'conflict'} end
local claim, _, attempts = head(KEYS[1], ARGV[1], sequence)
if claim ~= ARGV[3] then return {'conflict'} end
if ARGV[4] then
  redis.call('HSET', KEYS[1], ARGV[1], table.concat({sequence, claim, int(clock() + tonumber(ARGV[4])), int(attempts)}, ' '))
else
  redis.call('LPOP', KEYS[2])
  redis.call('HDEL', KEYS[1], ARGV[1])
end
return {'ok'}
