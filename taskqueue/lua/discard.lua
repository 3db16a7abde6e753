#!lua flags=allow-oom
--[[
discard: remove the records of finished tasks now, before their retention is over.

KEYS
  meta     hash    settings of the queue
  dead     zset    dead letters
  answer   string  what this very call answered, if it was made before
ARGV
  prefix   str   of the queue's keys
  now      int   "" reads the server's clock
  ids...   str   the tasks
RETURNS
  {"discarded", count}    those that were not finished, or unknown, are left alone
  {"no_queue"}
MOVES
  COMPLETED, FAILED, CANCELLED -> nothing
COST
  O(log n) a task
]]
-- include: base keys meta policy lanes record answers
local dead, answer = KEYS[2], KEYS[3]

-- Plan
local answered = call("GET", answer)
if answered then
  return { "discarded", tonumber(answered) }
end
call("ZCARD", dead)
local finished = {}
for at = 3, #ARGV do
  local id = ARGV[at]
  local header = read_header(id)
  local state = call("HGET", keys.run .. id, "state")
  if header and (state == "COMPLETED" or state == "FAILED" or state == "CANCELLED") then
    probe("zset", header.lane.tenant.finished)
    header.idem = header.idem ~= "" and keys.idem .. header.lane.tenant.name .. ":" .. header.idem
    header.holds = header.idem and call("GET", header.idem) == id
    finished[id] = header
  end
end

-- Apply
local count = 0
for id, header in pairs(finished) do
  count = count + call("DEL", keys.task .. id)
  call("DEL", keys.run .. id)
  if header.holds then
    call("DEL", header.idem)
  end
  call("ZREM", header.lane.tenant.finished, id)
  call("ZREM", dead, id)
end
if count > 0 then
  keep_answer(answer, count)
end
return { "discarded", count }
