-- GCRA over several policies, as store.GCRA counts: all agree and are debited,
-- or none is. One sorted set holds every key's theoretical arrival time in
-- microseconds, so that what is over can be forgotten and the one that is
-- first to be as if never used makes room.
-- KEYS arrivals. ARGV most keys, then key, emission, burst and cost of each
-- policy. Returns the clock, whether all agree, and the arrival of each key.
local now = clock()
local second = 1000000
local arrivals, next, allowed = {}, {}, 1
for i = 2, #ARGV, 4 do
  local key, emission = ARGV[i], tonumber(ARGV[i + 1])
  local burst, cost = tonumber(ARGV[i + 2]), tonumber(ARGV[i + 3])
  if not next[key] then
    local arrival = redis.call('ZSCORE', KEYS[1], key) or '0'
    arrivals[#arrivals + 1] = arrival
    next[key] = tonumber(arrival)
  end
  local after = math.max(next[key], now) + emission * cost
  if cost > burst or after - now > emission * burst then
    allowed = 0
  else
    next[key] = after
  end
end
if allowed == 1 then
  local over = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', int(now - second), 'LIMIT', 0, 50)
  if #over > 0 then redis.call('ZREM', KEYS[1], unpack(over)) end
  for key, arrival in pairs(next) do redis.call('ZADD', KEYS[1], int(arrival), key) end
  local extra = redis.call('ZCARD', KEYS[1]) - tonumber(ARGV[1])
  if extra > 0 then redis.call('ZPOPMIN', KEYS[1], extra) end
  local last = redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')[2]
  redis.call('PEXPIREAT', KEYS[1], int(math.ceil((tonumber(last) + second) / 1000)))
end
return {'ok', int(now), allowed, arrivals}
