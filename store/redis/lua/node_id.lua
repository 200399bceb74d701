-- KEYS ids, last id. ARGV slug, highest id seen.
if emptied(KEYS[2], ARGV[2]) then return {'emptied'} end
local id = redis.call('HGET', KEYS[1], ARGV[1])
if not id then return {'not found'} end
return {'ok', id}
