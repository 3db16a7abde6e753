#!lua flags=allow-oom
--[[
open: make the queue's settings if there are none, else read them.

KEYS
  meta      hash  settings of the queue
ARGV
  prefix    str   of the queue's keys
  now       int   "" reads the server's clock
  dataset   str   random; names this queue's data from now on if it is new
  retention str   ms; "" leaves what is stored
  rest...   str   settings as field, value: used if the queue is new
RETURNS
  {"opened", field, value ...}
MOVES
  nothing
COST
  O(1)
]]
-- include: base
local meta = KEYS[1]
if call("HEXISTS", meta, "schema") == 0 then
  for at = 5, #ARGV, 2 do
    call("HSETNX", meta, ARGV[at], ARGV[at + 1])
  end
  call("HSETNX", meta, "dataset", ARGV[3])
  call("HSETNX", meta, "created_at", now)
end
if ARGV[4] ~= "" then
  call("HSET", meta, "retention", ARGV[4])
end
local reply = { "opened" }
for _, value in ipairs(call("HGETALL", meta)) do
  reply[#reply + 1] = value
end
return reply
