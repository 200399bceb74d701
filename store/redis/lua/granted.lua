-- Stands before the scripts that give a node something.

-- outdated tells whether the node was revoked after the epoch, in seconds, that
-- who gives it knows.
local function outdated(revocations, node, epoch)
  if node == '' then return false end
  local last = redis.call('HGET', revocations, 'node:' .. node)
  if not last then return false end
  local at, till = last:match('^(%d+) (%d+)$')
  return tonumber(till) > clock() and math.floor(tonumber(at) / 1000000) > tonumber(epoch)
end
