-- KEYS state. ARGV base, revision, data, most deliveries of a queue,
-- time to live in milliseconds, then webhook, key and body of each delivery.
local stands = redis.call('HGET', KEYS[1], 'revision') or '0'
if tonumber(stands) ~= tonumber(ARGV[2]) then return {'conflict'} end
local revision, now, dropped = int(tonumber(ARGV[2]) + 1), clock(), 0
redis.call('HSET', KEYS[1], 'revision', revision, 'data', ARGV[3])
for i = 6, #ARGV, 3 do
  local queue = ARGV[1] .. ':queue:' .. ARGV[i]
  local sequence = redis.call('HINCRBY', KEYS[1], 'sequence', 1)
  redis.call('RPUSH', queue, int(sequence) .. ' ' .. int(now) .. ' ' .. ARGV[i + 1] .. '\n' .. ARGV[i + 2])
  if redis.call('LLEN', queue) > tonumber(ARGV[4]) then
    redis.call('LPOP', queue)
    dropped = dropped + 1
  end
  redis.call('PEXPIRE', queue, ARGV[5])
end
return {'ok', revision, dropped}
