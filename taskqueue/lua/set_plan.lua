#!lua flags=allow-oom
--[[
set_plan: say what a tenant's plan is: its credits a cycle, and when the cycle ends.

KEYS
  meta       hash  settings of the queue
  account    hash  facts about the tenant
ARGV
  prefix     str   of the queue's keys
  now        int   "" reads the server's clock
  per_cycle  str   credits, "" for none
  resets_at  str   epoch ms, "" for never
RETURNS
  {"set"}
  {"no_queue"}
MOVES
  nothing
COST
  O(1)
]]
-- include: base meta
local account = KEYS[2]
local facts = { per_cycle = ARGV[3], resets_at = ARGV[4] }
call("HLEN", account)
for name, value in pairs(facts) do
  if value == "" then
    call("HDEL", account, name)
  else
    call("HSET", account, name, value)
  end
end
return { "set" }
