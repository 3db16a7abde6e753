#!lua flags=allow-oom
--[[
revoke_key: end an API key now.

KEYS
  meta    hash  settings of the queue
  key     hash  the record of the key
  owners  set   tenants that have API keys
ARGV
  prefix  str   of the queue's keys
  now     int   "" reads the server's clock
  id      str   of the key
RETURNS
  {"revoked"}
  {"unknown"}   there is none, or it has ended
  {"no_queue"}
MOVES
  nothing
COST
  O(log n) in the tenant's keys
]]
-- include: base keys meta api_keys
local key, owners, id = KEYS[2], KEYS[3], ARGV[3]

-- Plan
local record = read_key(key)
if not record then
  return { "unknown" }
end
local index = plan_index(record.tenant, owners)

-- Apply
end_key(key, index, id, now)
forget_ended(index, owners, record.tenant)
return { "revoked" }
