#!lua flags=allow-oom
--[[
set_webhook_standard: say whether a tenant's webhooks carry the headers of Standard Webhooks as well.

KEYS
  meta     hash  settings of the queue
  account  hash  facts about the tenant
ARGV
  prefix   str   of the queue's keys
  now      int   "" reads the server's clock
  wanted   int   1 or 0
RETURNS
  {"set"}
  {"unsigned"}   the tenant has no secret: nothing was changed
  {"no_queue"}
MOVES
  nothing
COST
  O(1)
]]
-- include: base meta
local account, wanted = KEYS[2], ARGV[3] == "1"

-- Plan
if call("HEXISTS", account, "webhook_secret") == 0 then
  return { "unsigned" }
end

-- Apply
if wanted then
  call("HSET", account, "webhook_standard", 1)
else
  call("HDEL", account, "webhook_standard")
end
return { "set" }
