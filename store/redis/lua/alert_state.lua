-- KEYS state.
local state = redis.call('HMGET', KEYS[1], 'revision', 'data')
return {'ok', state[1] or '0', state[2] or ''}
