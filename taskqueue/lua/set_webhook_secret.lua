#!lua flags=allow-oom
--[[
set_webhook_secret: keep the sealed secret that a tenant's webhooks are signed with, or take all of it away.

KEYS
  meta     hash  settings of the queue
  account  hash  facts about the tenant
ARGV
  prefix   str   of the queue's keys
  now      int   "" reads the server's clock
  sealed   str   the secret, sealed by the caller; "" takes it and an old one away
  overlap  int   ms for which the secret that signs now goes on, if there is one
RETURNS
  {"set", until}   epoch ms until which an old one signs, 0 for none; the same for a call that is repeated
  {"removed"}
  {"unsigned"}     there was nothing to take away
  {"no_queue"}
MOVES
  nothing
COST
  O(1)
]]
-- include: base meta
local account, sealed, overlap = KEYS[2], ARGV[3], tonumber(ARGV[4])

-- Plan
local found = call("HMGET", account, "webhook_secret", "webhook_old", "webhook_old_until", "webhook_standard")
local secret, old, old_until = found[1], found[2], tonumber(found[3] or nil)
if sealed == "" and not (secret or old or found[3] or found[4]) then
  return { "unsigned" }
elseif sealed ~= "" and sealed == secret then
  return { "set", old_until or 0 }
end
-- Receivers know the one that signs. One that was to follow it has not signed yet, and is replaced.
local signing = old and old_until and old_until > now and old or secret

-- Apply
call("HDEL", account, "webhook_old", "webhook_old_until")
if sealed == "" then
  call("HDEL", account, "webhook_secret", "webhook_standard")
  return { "removed" }
end
call("HSET", account, "webhook_secret", sealed)
if not signing or overlap == 0 then
  return { "set", 0 }
end
call("HSET", account, "webhook_old", signing, "webhook_old_until", now + overlap)
return { "set", now + overlap }
