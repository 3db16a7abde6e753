#!lua flags=allow-oom
--[[
reap: take back tasks whose lease has run out. The only script that ends somebody else's lease.
After a gap in its own runs, or a jump of the clock, it reaps nothing for one lease: whoever was cut
off gets that long to extend. So an outage does not run everything twice. After another gap meanwhile,
shorter than a lease, half of one is left.

KEYS
  meta      hash  settings of the queue; keeps the time of the last pass and the end of a hold
  leased    zset  task id -> end of its lease, epoch ms
ARGV
  prefix    str   of the queue's keys
  now       int   "" reads the server's clock
  lease     int   ms; the caller's
  limit     int   how many at the most
  crashes   int   how many crashes make a dead letter
  dead      str   msgpack of the error that such a task ends with
  cancelled str   msgpack of the error that a cancelled task ends with
RETURNS
  {"reaped", more, requeued, dead, cancelled}    the last three: lists of ids
  {"holding", ms}                                nothing was reaped, nor will be for so long
  {"no_queue"}
MOVES
  PROCESSING -> QUEUED (ready at its old place), FAILED (dead letter), CANCELLED if that was asked
COST
  O(log n) a task
]]
-- include: base keys meta policy lanes counts record places ending providers credits holding
local meta_key, leased = KEYS[1], KEYS[2]
local lease, limit, crashes_allowed = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local dead_error, cancelled_error = ARGV[6], ARGV[7]
-- Passes are a quarter of a lease apart, but 0.5 s at the least and 2 s at the most. A heartbeat leaves at least half of
-- a lease, so a gap that no lease survived is always noticed, unless leases are shorter than 2 s.
-- A jump of the clock is told from a gap by going backwards, or far ahead.
local SHORTEST_GAP, JUMP = 1000, 5000

-- Plan
local passes = call("HMGET", meta_key, "reaped_at", "hold_until", "longest_lease")
local reaped_at, hold_until = tonumber(passes[1]), tonumber(passes[2] or 0)
local longest = max(lease, tonumber(passes[3] or 0))
local gap = reaped_at and now - reaped_at or 0
local half = floor(longest / 2)
if gap > max(half, SHORTEST_GAP) or gap < -JUMP then
  -- Of a server that comes and goes a whole lease each time could be too much: it would seldom reap. Half of one is
  -- enough for heartbeats, and nobody can be called silent who did not have that long to speak.
  local is_another = hold_until > reaped_at and gap > 0 and gap <= longest
  hold_until = now + (is_another and half or longest)
end
hold_until = min(hold_until, now + longest)

if hold_until > now then
  call("HSET", meta_key, "reaped_at", now, "hold_until", hold_until, "longest_lease", longest)
  return { "holding", hold_until - now }
end

local expired = call("ZRANGEBYSCORE", leased, "-inf", now, "LIMIT", 0, limit)
local more = #expired >= limit
-- The clock once stood far ahead: such a lease would never run out.
local far = call("ZRANGEBYSCORE", leased, now + longest + JUMP, "+inf", "LIMIT", 0, limit)

local claims, ends, lost = {}, {}, {}
for _, id in ipairs(expired) do
  local run = call("HMGET", keys.run .. id, "token", "crashes")
  local claim = read_claim(id, run[1])
  if not claim then
    lost[#lost + 1] = id
  else
    claim.crashes = tonumber(run[2] or 0) + 1
    claims[#claims + 1] = claim
    plan_return(claim, true)
    if is_cancelled(claim) or claim.crashes >= crashes_allowed then
      ends[id] = claim.header
    end
  end
end
plan_ends(ends)

-- Apply
call("HSET", meta_key, "reaped_at", now, "longest_lease", longest)
local requeued, dead, cancelled = {}, {}, {}
for _, claim in ipairs(claims) do
  call("HSET", claim.run, "crashes", claim.crashes)
  if claim.is_cancelled then
    finish(claim, "CANCELLED", "reaped", cancelled_error)
    cancelled[#cancelled + 1] = claim.id
  elseif ends[claim.id] then
    finish(claim, "FAILED", "reaped", dead_error)
    dead[#dead + 1] = claim.id
  else
    requeue(claim, "reaped")
    requeued[#requeued + 1] = claim.id
  end
end
send("ZREM", leased, lost)
for _, id in ipairs(far) do
  call("ZADD", leased, "XX", now + longest, id)
end
write_returns()
wake_touched()
return { "reaped", more and 1 or 0, requeued, dead, cancelled }
