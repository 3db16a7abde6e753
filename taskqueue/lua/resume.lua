#!lua flags=allow-oom
--[[
resume: end a pause.

KEYS
  meta     hash  settings of the queue
  limit    hash  the limits of this type or tenant; unused for the queue
  limited  set   types and tenants that have limits, as scope:name
ARGV
  prefix   str   of the queue's keys
  now      int   "" reads the server's clock
  scope    str   "type", "tenant" or "queue"
  name     str   of the type or the tenant
RETURNS
  {"resumed"}
  {"no_queue"}
MOVES
  nothing; unparks the lanes of a tenant
COST
  O(types)
]]
-- include: base keys meta policy lanes pausing
local limit, limited, scope, name = KEYS[2], KEYS[3], ARGV[3], ARGV[4]
plan_pause(limit, limited, scope, name)
write_pause(limit, limited, scope, name, false)
return { "resumed" }
