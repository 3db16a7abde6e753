#!lua
--[[
redrive: submit a FAILED or CANCELLED task again, as a new submission: new place, counts at zero.

KEYS
  meta     hash    settings of the queue
  seq      string  the counter that gives every task its place
  task     string  the task's record
  run      hash    the task's run
  answer   string  there if this very call was made before: then nothing is done
ARGV
  prefix   str   of the queue's keys
  now      int   "" reads the server's clock
  id       str   the task
RETURNS
  {"redriven"}
  {"not_failed", state}
  {"exhausted"}    the counter has reached its end
  {"unknown"}
  {"no_queue"}
MOVES
  FAILED, CANCELLED -> QUEUED
COST
  O(log n)
]]
-- include: base keys meta policy lanes counts record places answers
local seq, task, run, answer, id = KEYS[2], KEYS[3], KEYS[4], KEYS[5], ARGV[3]

-- Plan
if call("GET", answer) then
  return { "redriven" }
end
local record = call("GET", task)
local sequence = tonumber(call("GET", seq) or 0)
local state = call("HGET", run, "state") or "QUEUED"
if not record then
  return { "unknown" }
end
local header = parse_header(record)
if not header or (state ~= "FAILED" and state ~= "CANCELLED") then
  return { "not_failed", state }
elseif sequence + 1 > meta.max_sequence then
  return { "exhausted" }
end
local lane = header.lane
plan_place(lane)
probe("zset", lane.tenant.finished)
probe("zset", keys.dead)
probe("set", keys.tenants)
local idem = header.idem ~= "" and keys.idem .. lane.tenant.name .. ":" .. header.idem
local holder = idem and call("GET", idem)

-- Apply
sequence = call("INCRBY", seq, 1)
call("SET", task, "1|" .. text(sequence) .. "|" .. text(now) .. "|" .. match(record, "^1|%d+|%d+|(.*)$"))
call("DEL", run)
if idem and (not holder or holder == id) then
  call("SET", idem, id)
end
call("ZREM", lane.tenant.finished, id)
call("ZREM", keys.dead, id)
call("SADD", keys.tenants, lane.tenant.name)
count_queued(lane, header.priority, 1)
if lane.reserved then
  count_held(lane, 1)
end
place(id, lane, header.priority, sequence)
write_tallies()
write_places()
refresh_lanes()
wake_touched()
keep_answer(answer, id)
return { "redriven" }
