-- KEYS token shown, its reply, successor, version.
-- ARGV base, successor's hash, its end, reply, grace in milliseconds, channel.
local base = ARGV[1]
local shown = load(KEYS[1])
if not shown then return {'not found'} end
if shown[5] then
  local reply = redis.call('GET', KEYS[2]) -- lives as long as the grace
  if not reply then
    kill(base, shown[1])
    changed(KEYS[4], ARGV[6])
    return {'ok', 'replayed', '', shown[1], 0, shown[3], 0}
  end
  local next = load(base .. ':refresh:' .. shown[5])
  if not next then return {'not found'} end
  return {'ok', 'repeated', shown[5], next[1], next[2], next[3], next[4], reply}
end
if redis.call('EXISTS', KEYS[3]) == 1 then return {'exists'} end
local generation = int(tonumber(shown[2]) + 1)
store(base, ARGV[2], shown[1], generation, shown[3], ARGV[3])
redis.call('HSET', KEYS[1], 'successor', ARGV[2])
if tonumber(ARGV[5]) > 0 then redis.call('SET', KEYS[2], ARGV[4], 'PX', ARGV[5]) end
return {'ok', 'rotated', ARGV[2], shown[1], generation, shown[3], ARGV[3], ARGV[4]}
