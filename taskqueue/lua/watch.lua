#!lua flags=allow-oom
--[[
watch: read tasks, and have an inbox told when those that are not finished end.

KEYS
  meta     hash  settings of the queue
ARGV
  prefix   str   of the queue's keys
  now      int   "" reads the server's clock
  inbox    str   whom to tell
  ttl      int   ms for which to remember it; ask again within that time
  ids...   str   the tasks
RETURNS
  as fetch.lua
  {"no_queue"}
MOVES
  nothing
COST
  O(1) a task
]]
-- include: base keys meta policy lanes record reading

-- Plan
local reply, unfinished = {}, {}
for at = 5, #ARGV do
  local id = ARGV[at]
  local task, state = read_task(id)
  reply[#reply + 1] = task
  if task[1] == "task" and state ~= "COMPLETED" and state ~= "FAILED" and state ~= "CANCELLED" then
    unfinished[#unfinished + 1] = id
    call("SCARD", keys.waiters .. id)
  end
end

-- Apply
for _, id in ipairs(unfinished) do
  call("SADD", keys.waiters .. id, ARGV[3])
  call("PEXPIRE", keys.waiters .. id, ARGV[4])
end
return reply
