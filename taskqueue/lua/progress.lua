#!lua flags=allow-oom
--[[
progress: store what a running handler says about how far it is.

KEYS
  meta    hash  settings of the queue
  run     hash  the task's run
ARGV
  prefix  str   of the queue's keys
  now     int   "" reads the server's clock
  token   str   of the running claim
  value   str   msgpack
RETURNS
  {"stored"}
  {"stale"}
  {"no_queue"}
MOVES
  nothing
COST
  O(1)
]]
-- include: base meta
local run, token, value = KEYS[2], ARGV[3], ARGV[4]
local stored = call("HMGET", run, "state", "token")
if stored[1] ~= "PROCESSING" or stored[2] ~= token then
  return { "stale" }
end
call("HSET", run, "progress", value)
return { "stored" }
