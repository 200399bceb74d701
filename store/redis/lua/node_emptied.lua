-- emptied holds the last id up to the highest that the caller has seen, so that a
-- failover that lost the newest ones numbers no node twice. It tells whether the
-- server came back empty: then nothing may be written before what is known was
-- put back, or another node would get the number of one that is only forgotten.
local function emptied(last, seen)
  seen = tonumber(seen)
  if seen == 0 then return false end
  local stands = redis.call('GET', last)
  if not stands then return true end
  if tonumber(stands) < seen then redis.call('SET', last, int(seen)) end
  return false
end
