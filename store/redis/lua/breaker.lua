-- Stands before the scripts of breakers.

-- generation of a node's breaker, 0 when there is none.
local function generation(records, node)
  local stands = redis.call('HGET', records, node)
  return stands and tonumber(stands:match('^(%d+) ')) or 0
end
