-- Stands before the scripts that may end a family of refresh tokens.

-- kill deletes a family with all its tokens.
local function kill(base, family)
  local members = base .. ':family:' .. family
  for _, hash in ipairs(redis.call('SMEMBERS', members)) do
    local node = redis.call('HGET', base .. ':refresh:' .. hash, 'node')
    if node then redis.call('SREM', base .. ':node:' .. node, family) end
    redis.call('DEL', base .. ':refresh:' .. hash, base .. ':reply:' .. hash)
  end
  redis.call('DEL', members)
end

-- store writes a refresh token, and where it belongs.
local function store(base, hash, family, generation, node, expires, number, epoch)
  local key, at = base .. ':refresh:' .. hash, tonumber(expires)
  redis.call('HSET', key, 'family', family, 'generation', generation, 'node', node, 'expires', expires,
    'number', number, 'epoch', epoch)
  redis.call('PEXPIREAT', key, int(math.ceil(at / 1000)))
  redis.call('SADD', base .. ':family:' .. family, hash)
  outlive(base .. ':family:' .. family, at)
  redis.call('SADD', base .. ':node:' .. node, family)
  outlive(base .. ':node:' .. node, at)
end

-- load reads a refresh token that has not expired.
local function load(key)
  local t = redis.call('HMGET', key, 'family', 'generation', 'node', 'expires', 'successor', 'number', 'epoch')
  t[6], t[7] = t[6] or '0', t[7] or '0'
  if t[1] and tonumber(t[4]) > clock() then return t end
end
