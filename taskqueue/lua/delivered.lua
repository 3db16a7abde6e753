#!lua flags=allow-oom
--[[
delivered: note that the webhook of a finished task has been taken by its receiver.

KEYS
  meta    hash  settings of the queue
  run     hash  the task's run
ARGV
  prefix  str   of the queue's keys
  now     int   "" reads the server's clock
RETURNS
  {"noted"}     also for a repeat; the first instant stays
  {"unknown"}   the task has no record any more, or has not finished
  {"no_queue"}
MOVES
  nothing
COST
  O(1)
]]
-- include: base meta
local run = KEYS[2]

-- Plan
if not call("HGET", run, "finished_at") then
  return { "unknown" }
end

-- Apply
call("HSETNX", run, "delivered_at", now)
return { "noted" }
