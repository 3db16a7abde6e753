#!lua flags=allow-oom
--[[
set_limit: change how many tasks of a type or a tenant may run at once, or a tenant's weight.

KEYS
  meta         hash  settings of the queue
  limit        hash  the limits of this type or tenant
  limited      set   types and tenants that have limits, as scope:name
ARGV
  prefix       str   of the queue's keys
  now          int   "" reads the server's clock
  scope        str   "type" or "tenant"
  name         str   of the type or the tenant
  concurrency  str   a count, "none" to lift the limit, "" to leave it
  weight       str   share under the fair policies, "" to leave it
RETURNS
  {"set"}
  {"no_queue"}
MOVES
  nothing; parks or unparks the lanes concerned
COST
  O(types)
]]
-- include: base keys meta policy lanes
local limit, limited, scope, name, concurrency, weight = KEYS[2], KEYS[3], ARGV[3], ARGV[4], ARGV[5], ARGV[6]

-- Plan
call("HLEN", limit)
call("SCARD", limited)
if scope == "tenant" then
  if policy.virtual then
    probe("zset", keys.virtual)
  end
  touch_family(tenant_named(name))
else
  touch_type(type_named(name))
end

-- Apply
if concurrency == "none" then
  call("HDEL", limit, "max")
elseif concurrency ~= "" then
  call("HSET", limit, "max", concurrency)
end
if weight == "1" then
  call("HDEL", limit, "weight")
elseif weight ~= "" then
  call("HSET", limit, "weight", weight)
end
local values = call("HMGET", limit, "max", "weight", "paused")
local member = scope .. ":" .. name
if values[1] or values[2] or values[3] then
  call("SADD", limited, member)
else
  call("SREM", limited, member)
end
forget_limits()
refresh_lanes(true)
wake_touched()
return { "set" }
