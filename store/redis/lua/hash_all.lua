-- KEYS a hash. Returns the clock and all of it.
return {'ok', int(clock()), redis.call('HGETALL', KEYS[1])}
