-- KEYS queue.
return {'ok', redis.call('LLEN', KEYS[1])}
