-- Stands before the scripts that write runs.

-- forget deletes a run.
local function forget(base, id)
  local state = redis.call('HGET', base .. ':run:' .. id, 'state')
  if state then redis.call('ZREM', base .. ':state:' .. state, id) end
  redis.call('DEL', base .. ':run:' .. id)
  redis.call('ZREM', base .. ':ids', id)
  redis.call('ZREM', base .. ':ends', id)
end

-- sweep forgets some of the runs that are over.
local function sweep(base)
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', base .. ':ends', '-inf', int(clock()), 'LIMIT', 0, 50)) do forget(base, id) end
end

-- write stores a run, and where it is found.
local function write(base, id, revision, state, expires, data)
  local was = redis.call('HGET', base .. ':run:' .. id, 'state')
  redis.call('HSET', base .. ':run:' .. id, 'revision', int(revision), 'state', state, 'expires', expires, 'data', data)
  redis.call('ZADD', base .. ':ids', 0, id)
  if was and was ~= state then redis.call('ZREM', base .. ':state:' .. was, id) end
  redis.call('ZADD', base .. ':state:' .. state, 0, id)
  if expires == '0' then
    redis.call('ZREM', base .. ':ends', id)
    redis.call('PERSIST', base .. ':run:' .. id)
  else
    redis.call('ZADD', base .. ':ends', expires, id)
    -- should nobody sweep, the server does it a day later
    redis.call('PEXPIREAT', base .. ':run:' .. id, int(math.ceil(tonumber(expires) / 1000) + 86400000))
  end
end
