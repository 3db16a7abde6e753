#!lua flags=no-writes
--[[
find_webhook_secrets: what a tenant's webhooks are signed with now, by the server's clock.

KEYS
  meta     hash  settings of the queue
  account  hash  facts about the tenant
ARGV
  prefix   str   of the queue's keys
  now      int   "" reads the server's clock
RETURNS
  {"found", record}   a record is secret, old, until, standard; absent fields are nil; an old secret
                      whose time is over is left out
  {"no_queue"}
MOVES
  nothing
COST
  O(1)
]]
-- include: base meta
local account = KEYS[2]
local record = call("HMGET", account, "webhook_secret", "webhook_old", "webhook_old_until", "webhook_standard")
local old_until = tonumber(record[3] or nil)
-- Without a newer one nothing is left out: a damaged record must not pass for one that signs nothing.
if record[1] and old_until and old_until <= now then
  record[2], record[3] = false, false
end
return { "found", record }
