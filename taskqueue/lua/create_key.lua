#!lua
--[[
create_key: give a tenant an API key, of which only a digest is kept.

KEYS
  meta    hash  settings of the queue
  key     hash  the record of the key
  owners  set   tenants that have API keys
ARGV
  prefix  str   of the queue's keys
  now     int   "" reads the server's clock
  id      str   of the key
  digest  str   keyed digest of the whole key
  tenant  str   whose key it is
  name    str   what people call it
  rate    int   requests a second that it is allowed, for each endpoint
RETURNS
  {"created", created ms}   the same again for a call that is repeated
  {"taken"}                 another key has this id
  {"no_queue"}
MOVES
  nothing
COST
  O(log n) in the tenant's keys
]]
-- include: base keys meta api_keys
local key, owners, id, tenant = KEYS[2], KEYS[3], ARGV[3], ARGV[5]
local record = { digest = ARGV[4], tenant = tenant, name = ARGV[6], rate = ARGV[7] }

-- Plan
local made = read_key(key)
if made and made.digest == record.digest then
  return { "created", made.created }
elseif call("EXISTS", key) == 1 then
  return { "taken" }
end
local index = plan_index(tenant, owners)

-- Apply
write_key(key, index, owners, id, record)
forget_ended(index, owners, tenant)
return { "created", now }
