-- KEYS run.
local run = redis.call('HMGET', KEYS[1], 'revision', 'state', 'expires', 'data')
if not run[1] or run[3] ~= '0' and tonumber(run[3]) <= clock() then return {'not found'} end
return {'ok', run[1], run[2], run[3], run[4]}
