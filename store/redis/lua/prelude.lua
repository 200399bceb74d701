-- Stands before every script.

-- clock is the server's time in microseconds.
local function clock()
  local t = redis.call('TIME')
  return t[1] * 1000000 + t[2]
end

-- int writes a number without an exponent.
local function int(n) return string.format('%.0f', n) end

-- outlive makes a key live until at least the given time in microseconds.
local function outlive(key, at)
  local left = redis.call('PTTL', key)
  if left < 0 or clock() + left * 1000 < at then
    redis.call('PEXPIREAT', key, int(math.ceil(at / 1000)))
  end
end

-- changed tells those who watch. Without the right to publish they learn it
-- from the version, which they poll.
local function changed(version, channel)
  redis.pcall('PUBLISH', channel, int(redis.call('INCR', version)))
end
