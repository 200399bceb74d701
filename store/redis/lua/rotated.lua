-- Stands before the scripts that are shown a refresh token.

-- again is what a token is told that was rotated before: its successor while
-- the reply lives, later that it is a replay, which ends its family.
local function again(base, reply_key, shown, version, channel)
  local reply = redis.call('GET', reply_key) -- lives as long as the grace
  if not reply then
    kill(base, shown[1])
    changed(version, channel)
    return {'ok', 'replayed', '', shown[1], 0, shown[3], 0, shown[6], shown[7], ''}
  end
  local next = load(base .. ':refresh:' .. shown[5])
  if not next then return {'not found'} end
  return {'ok', 'repeated', shown[5], next[1], next[2], next[3], next[4], next[6], next[7], reply}
end
