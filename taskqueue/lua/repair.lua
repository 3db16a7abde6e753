#!lua flags=allow-oom
--[[
repair: hold a few tenants' lanes and due times against what they should be, and mend them. Tests
and operators want to see zero.

KEYS
  meta      hash  settings of the queue
  tenants   set   tenants that have anything here
  due       zset  tenant -> its earliest delayed task
ARGV
  prefix    str   of the queue's keys
  now       int   "" reads the server's clock
  limit     int   about how many tenants
  cursor    str   where the last step ended; "0" at first
RETURNS
  {"repaired", lanes checked, changed, cursor}    cursor "0": the walk is complete
  {"no_queue"}
MOVES
  nothing
COST
  O(types) a tenant
]]
-- include: base keys meta policy lanes counts record places
local tenants = KEYS[2]

-- Plan
call("ZCARD", KEYS[3])
local visited = call("SSCAN", tenants, ARGV[4], "COUNT", ARGV[3])
for _, name in ipairs(visited[2]) do
  local tenant = tenant_named(name)
  touch_family(tenant)
  if policy.virtual then
    probe("zset", keys.virtual)
  end
  probe("zset", tenant.delayed)
end

-- Apply
local checked, changed = #touched, 0
for _, name in ipairs(visited[2]) do
  if due_refresh(tenant_named(name)) then
    changed = changed + 1
  end
end
changed = changed + refresh_lanes(true)
wake_touched()
return { "repaired", checked, changed, visited[1] }
