-- KEYS token shown, its reply, successor, version.
-- ARGV base, successor's hash, its end, reply, grace in milliseconds, channel.
local shown = load(KEYS[1])
if not shown then return {'not found'} end
if shown[5] then return again(ARGV[1], KEYS[2], shown, KEYS[4], ARGV[6]) end
if redis.call('EXISTS', KEYS[3]) == 1 then return {'exists'} end
local generation = int(tonumber(shown[2]) + 1)
store(ARGV[1], ARGV[2], shown[1], generation, shown[3], ARGV[3], shown[6], shown[7])
redis.call('HSET', KEYS[1], 'successor', ARGV[2])
if tonumber(ARGV[5]) > 0 then redis.call('SET', KEYS[2], ARGV[4], 'PX', ARGV[5]) end
return {'ok', 'rotated', ARGV[2], shown[1], generation, shown[3], ARGV[3], shown[6], shown[7], ARGV[4]}
