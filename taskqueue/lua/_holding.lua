-- Who holds a lease: every verb of a worker names task and token, and nothing changes unless both
-- are those of the running claim. The outcome of a token stays until the next claim, so that a
-- report whose reply was lost can be made again.

-- Returns the claim, or nil and the outcome that this token has had already.
local function read_claim(id, token)
  local key = keys.run .. id
  local run = call("HMGET", key, "state", "token", "hold", "provider")
  if not run[2] or run[2] ~= token then
    return nil, "stale"
  end
  if run[1] ~= "PROCESSING" then
    -- Only a report completes a task, so that state is its outcome as well.
    local outcome = run[1] == "COMPLETED" and "completed" or call("HGET", key, "outcome")
    return nil, (outcome and outcome ~= "reaped") and outcome or "stale"
  end
  local header = read_header(id)
  if not header then
    return nil, "stale"
  end
  -- What every claim gets is named here: a table that grows later is built again.
  local claim = { id = id, run = key, header = header, value = false, charge = header.cost, hold = tonumber(run[3] or nil) }
  if run[4] then
    claim.provider, claim.is_probe = match(run[4], "^[^!]*"), sub(run[4], -1) == "!"
  end
  return claim
end

-- Whether somebody asked for the task to be cancelled. Only those ask who would not complete it.
local function is_cancelled(claim)
  claim.is_cancelled = call("HGET", claim.run, "cancel") == "1"
  return claim.is_cancelled
end

-- Plan half of the end of a lease; `may_go_back`: into the queue.
local function plan_return(claim, may_go_back)
  if claim.provider then
    plan_room(provider_named(claim.provider))
  end
  local lane = claim.header.lane
  if not lane.is_returned then
    lane.is_returned = true
    probe("zset", keys.leased)
    if may_go_back then
      plan_place(lane, true)
    else
      touch_lane(lane)
    end
    probe("zset", lane.tenant.finished)
  end
end

-- Apply halves.
local released = {}

-- The slot of its provider is free again.
local function leave_provider(claim)
  if claim.provider then
    give_back(provider_named(claim.provider), claim.is_probe)
  end
end

-- What it held and used is free again, but for what it is charged. Returns that.
local function leave(claim, charge)
  released[#released + 1] = claim.id
  count_processing(claim.header.lane, -1)
  leave_provider(claim)
  return end_hold(claim, charge)
end

-- Back into the queue, to its old place; `due` nil: at once.
local function requeue(claim, outcome, due)
  local header = claim.header
  count_queued(header.lane, header.priority, 1)
  leave(claim, 0)
  if claim.provider then
    call("HDEL", claim.run, "provider")
  end
  call("HSET", claim.run, "state", "QUEUED", "outcome", outcome)
  place(claim.id, header.lane, header.priority, header.sequence, due)
end

local function complete(claim)
  local charge = leave(claim, claim.charge)
  call("HSET", claim.run, "state", "COMPLETED", "finished_at", now, "result", claim.value)
  if charge > 0 then
    call("HSET", claim.run, "charged", charge)
  end
  end_task(claim.id, claim.run, claim.header, false)
end

local function finish(claim, state, outcome, error)
  leave(claim, 0)
  call("HSET", claim.run, "state", state, "outcome", outcome, "finished_at", now, "error", error)
  end_task(claim.id, claim.run, claim.header, state == "FAILED")
end

-- Writes everything gathered above. One order for all scripts: leases, counters, places, lanes.
local function write_returns()
  send("ZREM", keys.leased, released)
  released = {}
  write_tallies()
  write_places()
  write_ends()
  write_providers()
  refresh_lanes()
end
