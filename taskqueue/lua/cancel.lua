#!lua flags=allow-oom
--[[
cancel: end a QUEUED task at once; ask the worker of a PROCESSING one to stop it, or leave it alone.

KEYS
  meta    hash    settings of the queue
  task    string  the task's record
  run     hash    the task's run
ARGV
  prefix  str   of the queue's keys
  now     int   "" reads the server's clock
  id      str   the task
  error   str   msgpack of the error that it ends with
  waiting int   1: a PROCESSING task is left alone
RETURNS
  {"cancelled"}   it was QUEUED; where `waiting` was asked, also if it was cancelled before
  {"asked"}       it is PROCESSING: the worker is told at once, and again with its next heartbeat
  {"running"}     it is PROCESSING, and left alone
  {"finished"}    it had ended before
  {"unknown"}     there is no such task
  {"no_queue"}
MOVES
  QUEUED -> CANCELLED
COST
  O(log n)
]]
-- include: base keys meta policy lanes counts record places removing ending
local task, run, id, waiting = KEYS[2], KEYS[3], ARGV[3], ARGV[5] == "1"

-- Plan
call("STRLEN", task)
local header = read_header(id)
local stored = call("HMGET", run, "state", "token", "worker")
if not header then
  return { "unknown" }
end
local state = stored[1] or "QUEUED"
if state == "PROCESSING" and waiting then
  return { "running" }
elseif state == "PROCESSING" then
  local inbox = keys.inbox .. stored[3]
  probe("list", inbox)
  call("HSET", run, "cancel", "1")
  call("RPUSH", inbox, "cancel " .. id .. " " .. stored[2])
  call("PEXPIRE", inbox, INBOX_TTL)
  return { "asked" }
elseif state == "CANCELLED" and waiting then
  return { "cancelled" }
elseif state ~= "QUEUED" or not plan_removal(id, header) then
  return { "finished" }
end
probe("zset", header.lane.tenant.finished)
plan_ends({ [id] = header })

-- Apply
remove_queued(id, header)
call("HSET", run, "state", "CANCELLED", "outcome", "cancelled", "finished_at", now, "error", ARGV[4])
end_task(id, run, header, false)
write_tallies()
write_places()
write_ends()
refresh_lanes()
wake_touched()
return { "cancelled" }
