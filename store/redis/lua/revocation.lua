-- Stands before the scripts that revoke.

-- revoke writes a revocation, and forgets some that are over.
local function revoke(records, ends, subject, at, till)
  for _, over in ipairs(redis.call('ZRANGEBYSCORE', ends, '-inf', int(clock()), 'LIMIT', 0, 100)) do
    redis.call('ZREM', ends, over)
    redis.call('HDEL', records, over)
  end
  redis.call('HSET', records, subject, at .. ' ' .. till)
  redis.call('ZADD', ends, till, subject)
  outlive(records, tonumber(till))
  outlive(ends, tonumber(till))
end
