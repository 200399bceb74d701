-- Stands before the scripts of leases.

-- standing reads a lease that is not over: its end, fence and owner.
local function standing(records, name, now)
  local lease = redis.call('HGET', records, name)
  if not lease then return end
  local expires, fence, owner = lease:match('^(%d+) (%d+) (.*)$')
  if tonumber(expires) > now then return expires, fence, owner end
end
