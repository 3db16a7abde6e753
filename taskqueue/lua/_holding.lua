-- Who holds a lease: every verb of a worker names task and token, and nothing changes unless both
-- are those of the running claim. The outcome of a token stays until the next claim, so that a
-- report whose reply was lost can be made again.

-- Returns the claim, or nil and the outcome that this token has had already.
local function read_claim(id, token)
  local key = keys.run .. id
  local run = call("HMGET", key, "state", "token", "outcome", "cancel", "hold", "provider")
  if not run[2] or run[2] ~= token then
    return nil, "stale"
  end
  if run[1] ~= "PROCESSING" then
    return nil, (run[3] and run[3] ~= "reaped") and run[3] or "stale"
  end
  local header = read_header(id)
  if not header then
    return nil, "stale"
  end
  -- Every field is named here: a table that grows later is built again and again.
  return {
    id = id, run = key, header = header, is_cancelled = run[4] == "1",
    outcome = false, value = false, due = false, crashes = 0, charge = header.cost, hold = tonumber(run[5] or nil),
    tokens = 0, provider = run[6] and match(run[6], "^[^!]*"), is_probe = run[6] and sub(run[6], -1) == "!",
  }
end

-- Plan half of the end of a lease, whatever the outcome.
local function plan_return(claim)
  if claim.provider then
    plan_room(provider_named(claim.provider))
  end
  local lane = claim.header.lane
  if not lane.is_returned then
    lane.is_returned = true
    probe("zset", keys.leased)
    plan_place(lane, true)
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

-- Back into the queue, to its old place; `due` nil: at once.
local function requeue(claim, outcome, due)
  local header = claim.header
  released[#released + 1] = claim.id
  count_processing(header.lane, -1)
  count_queued(header.lane, header.priority, 1)
  end_hold(claim, 0)
  if claim.provider then
    leave_provider(claim)
    call("HDEL", claim.run, "provider")
  end
  call("HSET", claim.run, "state", "QUEUED", "outcome", outcome)
  place(claim.id, header.lane, header.priority, header.sequence, due)
end

local function finish(claim, state, outcome, field, value)
  released[#released + 1] = claim.id
  count_processing(claim.header.lane, -1)
  local charge = end_hold(claim, state == "COMPLETED" and claim.charge or 0)
  leave_provider(claim)
  call("HSET", claim.run, "state", state, "outcome", outcome, "finished_at", now, field, value)
  if charge > 0 then
    call("HSET", claim.run, "charged", charge)
  end
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
