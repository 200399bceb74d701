-- Stands before the scripts that revoke.

-- revoke writes a revocation, and forgets some that are over. Of two of one
-- subject the later times count.
local function revoke(records, ends, subject, at, till)
  for _, over in ipairs(redis.call('ZRANGEBYSCORE', ends, '-inf', int(clock()), 'LIMIT', 0, 100)) do
    redis.call('ZREM', ends, over)
    redis.call('HDEL', records, over)
  end
  local before = redis.call('HGET', records, subject)
  if before then
    local was_at, was_till = before:match('^(%d+) (%d+)$')
    if tonumber(was_at) > tonumber(at) then at = was_at end
    if tonumber(was_till) > tonumber(till) then till = was_till end
  end
  redis.call('HSET', records, subject, at .. ' ' .. till)
  redis.call('ZADD', ends, till, subject)
  outlive(records, tonumber(till))
  outlive(ends, tonumber(till))
end
