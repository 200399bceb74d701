-- KEYS ids, all or of one state. ARGV base, upper bound, limit.
local runs, limit, now = {}, tonumber(ARGV[3]), clock()
local below = ARGV[2]
while #runs < limit do
  local ids = redis.call('ZREVRANGEBYLEX', KEYS[1], below, '-', 'LIMIT', 0, 100)
  if #ids == 0 then break end
  for _, id in ipairs(ids) do
    below = '(' .. id
    local run = redis.call('HMGET', ARGV[1] .. ':run:' .. id, 'revision', 'state', 'expires', 'data')
    if not run[1] then
      redis.call('ZREM', KEYS[1], id) -- the server has swept it
    elseif #runs < limit and (run[3] == '0' or tonumber(run[3]) > now) then
      runs[#runs + 1] = {id, run[1], run[2], run[3], run[4]}
    end
  end
end
return {'ok', runs}
