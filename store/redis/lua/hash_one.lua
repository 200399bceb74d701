-- KEYS a hash. ARGV field. Returns the clock and the field's value.
local value = redis.call('HGET', KEYS[1], ARGV[1])
if not value then return {'not found'} end
return {'ok', int(clock()), value}
