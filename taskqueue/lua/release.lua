#!lua flags=allow-oom
--[[
release: give tasks back unfinished, each to its old place, the attempt not spent.
A task whose cancellation was asked for ends as CANCELLED instead.

KEYS
  meta     hash  settings of the queue
ARGV
  prefix   str   of the queue's keys
  now      int   "" reads the server's clock
  error    str   msgpack of the error that a cancelled task ends with
  rest...  str   each task as id, token, delay in ms ("0": at once)
RETURNS
  words, one per task: "released" (also for a repeat), "cancelled", "stale", or the outcome that
                       this token has had already
  {"no_queue"}
MOVES
  PROCESSING -> QUEUED (ready at its old place, or delayed), CANCELLED
COST
  O(log n) a task
]]
-- include: base keys meta policy lanes counts record places ending providers credits holding

-- Plan
local words, released_here, ends, seen = {}, {}, {}, {}
local error_of_cancel = ARGV[3]
for index = 1, (#ARGV - 3) / 3 do
  local at = 4 + (index - 1) * 3
  local id, delay = ARGV[at], tonumber(ARGV[at + 2])
  local claim, outcome = read_claim(id, ARGV[at + 1])
  outcome = outcome or seen[id]
  if not outcome then
    plan_return(claim, true)
    released_here[#released_here + 1] = claim
    outcome = is_cancelled(claim) and "cancelled" or "released"
    if outcome == "cancelled" then
      ends[id] = claim.header
    end
    claim.outcome = outcome
    claim.due = delay > 0 and now + delay
    seen[id] = outcome
  end
  words[index] = outcome
end
plan_ends(ends)

-- Apply
for _, claim in ipairs(released_here) do
  if claim.outcome == "cancelled" then
    finish(claim, "CANCELLED", "cancelled", error_of_cancel)
  else
    requeue(claim, "released", claim.due)
    call("HINCRBY", claim.run, "attempt", -1)
  end
end
write_returns()
wake_touched()
return words
