#!lua
--[[
rotate_key: give a tenant a new API key in place of one that ends now or after an overlap.

KEYS
  meta     hash  settings of the queue
  key      hash  the record of the new key
  old      hash  the record of the key that ends
  owners   set   tenants that have API keys
ARGV
  prefix   str   of the queue's keys
  now      int   "" reads the server's clock
  id       str   of the new key
  digest   str   keyed digest of the whole new key
  old_id   str   of the key that ends
  overlap  int   ms for which both are accepted; one that would end before still does
RETURNS
  {"rotated", created ms, tenant, name, rate}   the same again for a call that is repeated
  {"taken"}     another key has the new id
  {"unknown"}   there is no such key to rotate, or it has ended
  {"no_queue"}
MOVES
  nothing
COST
  O(log n) in the tenant's keys
]]
-- include: base keys meta api_keys
local key, old, owners = KEYS[2], KEYS[3], KEYS[4]
local id, digest, old_id, overlap = ARGV[3], ARGV[4], ARGV[5], tonumber(ARGV[6])

-- Plan
local made = read_key(key)
if made and made.digest == digest then
  return { "rotated", made.created, made.tenant, made.name, made.rate }
elseif call("EXISTS", key) == 1 then
  return { "taken" }
end
local record = read_key(old)
if not record then
  return { "unknown" }
end
local index = plan_index(record.tenant, owners)

-- Apply
record.digest = digest
write_key(key, index, owners, id, record)
end_key(old, index, old_id, min(record.expires or math.huge, now + overlap))
forget_ended(index, owners, record.tenant)
return { "rotated", now, record.tenant, record.name, record.rate }
