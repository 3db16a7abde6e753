#!lua flags=allow-oom
--[[
extend: lengthen the leases of running tasks; also the beat of their worker.

KEYS
  meta     hash  settings of the queue
  leased   zset  task id -> end of its lease, epoch ms
  workers  zset  worker -> its last beat, epoch ms
ARGV
  prefix   str   of the queue's keys
  now      int   "" reads the server's clock
  worker   str   whose beat it is
  lease    int   ms from now
  rest...  str   each lease as task id, token
RETURNS
  {lost, cancelled}   ids of tasks that are no longer this worker's; ids whose cancellation was asked
  {"no_queue"}
MOVES
  nothing; a lease that has run out but was not reaped yet is extended as well
COST
  O(log n) a lease
]]
-- include: base keys meta
local leased, workers, worker, lease = KEYS[2], KEYS[3], ARGV[3], tonumber(ARGV[4])

-- Plan
call("ZCARD", leased)
call("ZCARD", workers)
local lost, cancelled, deadlines = {}, {}, {}
local deadline = now + lease
for at = 5, #ARGV, 2 do
  local id = ARGV[at]
  local run = call("HMGET", keys.run .. id, "state", "token", "cancel")
  if run[1] == "PROCESSING" and run[2] == ARGV[at + 1] then
    deadlines[#deadlines + 1] = deadline
    deadlines[#deadlines + 1] = id
    if run[3] == "1" then
      cancelled[#cancelled + 1] = id
    end
  else
    lost[#lost + 1] = id
  end
end

-- Apply
send("ZADD", leased, deadlines)
call("ZADD", workers, now, worker)
return { lost, cancelled }
