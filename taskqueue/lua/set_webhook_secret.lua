#!lua flags=allow-oom
--[[
set_webhook_secret: keep the sealed secret that a tenant's webhooks are signed with, or take it away.

KEYS
  meta     hash  settings of the queue
  account  hash  facts about the tenant
ARGV
  prefix   str   of the queue's keys
  now      int   "" reads the server's clock
  sealed   str   the secret, sealed by the caller; "" takes it away
RETURNS
  {"set", had}   had: 1 if there was one before
  {"no_queue"}
MOVES
  nothing
COST
  O(1)
]]
-- include: base meta
local account, sealed = KEYS[2], ARGV[3]

-- Plan
local had = call("HEXISTS", account, "webhook_secret")

-- Apply
if sealed == "" then
  call("HDEL", account, "webhook_secret")
else
  call("HSET", account, "webhook_secret", sealed)
end
return { "set", had }
