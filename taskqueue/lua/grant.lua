#!lua flags=allow-oom
--[[
grant: give a tenant credits, or take some back. From the first grant on, also of 0, it is metered.

KEYS
  meta     hash    settings of the queue
  limit    hash    what the tenant may use; keeps its credits
  tenants  set     tenants that have anything here
  answer   string  there if this very call was made before: then nothing is granted
ARGV
  prefix   str   of the queue's keys
  now      int   "" reads the server's clock
  tenant   str   whose credits
  credits  int   how many; below zero takes back, also more than there are
RETURNS
  {"granted", granted, spent, held}
  {"no_queue"}
MOVES
  nothing; parks or unparks the tenant's lanes
COST
  O(types)
]]
-- include: base keys meta policy lanes answers
local limit, tenants, answer, tenant, credits = KEYS[2], KEYS[3], KEYS[4], ARGV[3], ARGV[4]

local function balance()
  local values = call("HMGET", limit, "granted", "spent", "held")
  return { "granted", tonumber(values[1]), tonumber(values[2] or 0), tonumber(values[3] or 0) }
end

-- Plan
if call("GET", answer) then
  return balance()
end
call("HMGET", limit, "granted")
call("SCARD", tenants)
if policy.virtual then
  probe("zset", keys.virtual)
end
touch_family(tenant_named(tenant))

-- Apply
call("HINCRBY", limit, "granted", credits)
call("HDEL", limit, "waits")
call("SADD", tenants, tenant)
forget_limits()
refresh_lanes(true)
wake_touched()
keep_answer(answer, credits)
return balance()
