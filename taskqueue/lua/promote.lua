#!lua flags=allow-oom
--[[
promote: move delayed tasks that are due to their place in their lane. Claims do so as well; this
one serves the types that no idle worker asks for.

KEYS
  meta    hash  settings of the queue
ARGV
  prefix  str   of the queue's keys
  now     int   "" reads the server's clock
  limit   int   how many at the most
RETURNS
  {"promoted", now, count, more, next}   more: 1 if some may be left; next: epoch ms of the earliest
                                    that is not due yet, or ""
  {"no_queue"}
MOVES
  QUEUED (delayed) -> QUEUED (ready)
COST
  O(log n) a task
]]
-- include: base keys meta policy lanes counts record places promoting
probe("zset", keys.due)
local count, more = promote_due(tonumber(ARGV[3]))
wake_touched()
return { "promoted", now, count, more and 1 or 0, next_due() or "" }
