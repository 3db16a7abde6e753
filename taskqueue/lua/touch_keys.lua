#!lua flags=allow-oom
--[[
touch_keys: note that API keys are in use, roughly.

KEYS
  meta     hash  settings of the queue
  keys...  hash  the records of the keys
ARGV
  prefix   str   of the queue's keys
  now      int   "" reads the server's clock
  pause    int   ms since the last note within which there is no other
RETURNS
  {"touched", count}    keys that are unknown are left alone
  {"no_queue"}
MOVES
  nothing
COST
  O(1) a key
]]
-- include: base meta
local pause = tonumber(ARGV[3])

-- Plan
local stale = {}
for index = 2, #KEYS do
  local key = KEYS[index]
  local record = call("HMGET", key, "digest", "used")
  local used = tonumber(record[2] or nil)
  if record[1] and not (used and used > now - pause) then
    stale[#stale + 1] = key
  end
end

-- Apply
for _, key in ipairs(stale) do
  call("HSET", key, "used", now)
end
return { "touched", #stale }
