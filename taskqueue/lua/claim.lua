#!lua flags=allow-oom
--[[
claim: lend the best tasks of some types to one worker, in exact order. What is due is promoted first.

KEYS
  meta     hash    settings of the queue
  claims   string  the last claim of one of the worker's calls at once, for a repeat of the same request
ARGV
  prefix   str   of the queue's keys
  now      int   "" reads the server's clock
  worker   str   who asks
  request  str   new for each claim; the same again returns the same tasks again
  lease    int   ms until a reap may take the tasks away, unless extended
  limit    int   how many tasks at the most, at most 1,000
  types... str   each type, how many of it at the most, and the providers that it may be sent to, in
                 this order, with a space between; "" if it is sent to none. The name "" is no type:
                 its number is the lowest priority that is taken, in a queue of strict order
RETURNS
  {"claimed", now, next, more, then per task three}
      next  epoch ms at which the earliest delayed task of the queue is due, or a provider opens
            that tasks wait for; or ""
      more  1 if tasks of these types could still run; where a lowest priority is given, 1 + the
            highest priority of those that could and have slots; else 0
      id, run, record, in the order in which they start
      run   "" if it is the first; else "<deliveries> <attempt> <crashes> <provider>", the last one
            empty if there is none. Its token is the number of deliveries, "-" and the request
  {"no_queue"}
MOVES
  QUEUED (delayed, due) -> QUEUED (ready); QUEUED (ready) -> PROCESSING
COST
  O(types + log lanes) and O(log n) a task
]]
-- include: base keys meta policy lanes counts record places ending promoting heap affording providers routing choosing fetching claiming
return claim_tasks(3, KEYS[2])
