#!lua flags=no-writes
--[[
fetch: read tasks.

KEYS
  meta     hash  settings of the queue
ARGV
  prefix   str   of the queue's keys
  now      int   "" reads the server's clock
  tasks... str   each task as its id and the tenant that it must be of; "" for any
RETURNS
  per task {"task", record, due ms or "", run as field, value ...} or {"unknown"}, also if another's
  {"no_queue"}
MOVES
  nothing
COST
  O(1) a task
]]
-- include: base keys meta policy lanes record reading
local reply = {}
for at = 3, #ARGV, 2 do
  reply[#reply + 1] = (read_task(ARGV[at], ARGV[at + 1]))
end
return reply
