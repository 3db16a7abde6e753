#!lua flags=no-writes
--[[
find_keys: look API keys up by their ids.

KEYS
  meta     hash  settings of the queue
  keys...  hash  the records of the keys
ARGV
  prefix   str   of the queue's keys
  now      int   "" reads the server's clock
RETURNS
  {"found", now, records}   a record is digest, tenant, name, rate, created, expires, used; absent fields
                            are nil; "" stands for a key that is unknown or has ended
  {"no_queue"}
MOVES
  nothing
COST
  O(1) a key
]]
-- include: base meta
local records = {}
for index = 2, #KEYS do
  local record = call("HMGET", KEYS[index], "digest", "tenant", "name", "rate", "created", "expires", "used")
  local expires = tonumber(record[6] or nil)
  local is_known = record[1] and not (expires and expires <= now)
  records[index - 1] = is_known and record or ""
end
return { "found", now, records }
