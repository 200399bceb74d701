-- Stands before the scripts that claim deliveries and settle claims.

-- first reads the first delivery of a queue: its text and sequence.
local function first(queue)
  local item = redis.call('LINDEX', queue, 0)
  if item then return item, item:match('^%d+') end
end

-- head reads who has claimed the first delivery: the claim, until when it is
-- taken, and how often it was claimed. What is noted of another delivery,
-- which made room or expired, does not count.
local function head(heads, webhook, sequence)
  local noted = redis.call('HGET', heads, webhook)
  if not noted then return end
  local of, claim, taken, attempts = noted:match('^(%d+) (%d+) (%d+) (%d+)$')
  if of == sequence then return claim, tonumber(taken), tonumber(attempts) end
end
