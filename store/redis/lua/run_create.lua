-- KEYS run, claim. ARGV base, id, state, expires, data, and when there is a
-- claim: fingerprint, run, time to live in milliseconds.
sweep(ARGV[1])
if redis.call('EXISTS', KEYS[1]) == 1 then return {'exists'} end
if ARGV[6] then
  local claim = redis.call('HMGET', KEYS[2], 'fingerprint', 'run')
  if claim[1] then return {'claimed', claim[1], claim[2]} end
  if tonumber(ARGV[8]) > 0 then
    redis.call('HSET', KEYS[2], 'fingerprint', ARGV[6], 'run', ARGV[7])
    redis.call('PEXPIRE', KEYS[2], ARGV[8])
  end
end
write(ARGV[1], ARGV[2], 1, ARGV[3], ARGV[4], ARGV[5])
return {'ok'}
