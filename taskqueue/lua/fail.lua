#!lua flags=allow-oom
--[[
fail: end attempts that did not succeed: to be retried after a backoff, as FAILED, or as CANCELLED.
A task whose cancellation was asked for is not retried: it ends as CANCELLED.

KEYS
  meta     hash  settings of the queue
ARGV
  prefix   str   of the queue's keys
  now      int   "" reads the server's clock
  rest...  str   each task as id, token, error (msgpack), then "retry:<ms>", "dead" or "cancelled"
RETURNS
  words, one per task: "retried", "failed", "cancelled" (also for a repeat), "stale", or the
                       outcome that this token has had already
  {"no_queue"}
MOVES
  PROCESSING -> QUEUED (delayed, or ready at its old place), FAILED (dead letter), CANCELLED
COST
  O(log n) a task
]]
-- include: base keys meta policy lanes counts record places ending providers credits holding

-- Plan
local words, failed, ends, seen = {}, {}, {}, {}
for index = 1, (#ARGV - 2) / 4 do
  local at = 3 + (index - 1) * 4
  local id, what = ARGV[at], ARGV[at + 3]
  local claim, outcome = read_claim(id, ARGV[at + 1])
  outcome = outcome or seen[id]
  if not outcome then
    claim.value = ARGV[at + 2]
    plan_return(claim, true)
    failed[#failed + 1] = claim
    local backoff = tonumber(match(what, "^retry:(%d+)$"))
    if what == "cancelled" or is_cancelled(claim) then
      outcome = "cancelled"
    elseif backoff then
      outcome = "retried"
      claim.due = backoff > 0 and now + backoff
    else
      outcome = "failed"
    end
    if outcome ~= "retried" then
      ends[id] = claim.header
    end
    claim.outcome = outcome
    seen[id] = outcome
  end
  words[index] = outcome
end
plan_ends(ends)

-- Apply
for _, claim in ipairs(failed) do
  if claim.outcome == "retried" then
    requeue(claim, "retried", claim.due)
    call("HSET", claim.run, "error", claim.value)
  else
    local state = claim.outcome == "failed" and "FAILED" or "CANCELLED"
    finish(claim, state, claim.outcome, claim.value)
  end
end
write_returns()
wake_touched()
return words
