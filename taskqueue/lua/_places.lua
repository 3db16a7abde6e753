-- The places a QUEUED task can be in: ready in its lane, or delayed until an instant.
local additions, due_lanes = {}, {}

-- Plan half: reads whatever putting the task somewhere will write.
local function plan_place(lane, may_be_delayed)
  touch_lane(lane)
  probe("zset", lane.ready)
  if may_be_delayed then
    probe("zset", lane.tenant.delayed)
    probe("zset", keys.due)
  end
end

local function add_to(key, score, id)
  local list = additions[key]
  if not list then
    list = {}
    additions[key] = list
  end
  list[#list + 1] = score
  list[#list + 1] = id
end

-- Apply half: to its place by submission, or delayed until `due` (nil: now).
local function place(id, lane, priority, sequence, due)
  if due then
    add_to(lane.tenant.delayed, due, id)
    due_lanes[lane.tenant] = lane
    count_delayed(lane, 1)
  else
    add_to(lane.ready, score_of(priority, sequence), id)
    lane.is_changed = true
  end
end

-- The only writer of `due`: the earliest instant of each tenant that has delayed tasks. Returns
-- whether the entry had to be changed.
local function due_refresh(tenant)
  local first = call("ZRANGE", tenant.delayed, 0, 0, "WITHSCORES")[2]
  local stored = call("ZSCORE", keys.due, tenant.name)
  if not first then
    return stored ~= false and call("ZREM", keys.due, tenant.name) == 1
  end
  if tonumber(stored) ~= tonumber(first) then
    call("ZADD", keys.due, first, tenant.name)
    return true
  end
  return false
end

local function next_due()
  return call("ZRANGE", keys.due, 0, 0, "WITHSCORES")[2]
end

-- Whoever sleeps until the old earliest instant must hear of an earlier one: its type is woken, and
-- the claim that follows learns the new instant.
local function write_places()
  for key, list in pairs(additions) do
    send("ZADD", key, list)
  end
  additions = {}
  if next(due_lanes) then
    local earliest = tonumber(next_due() or math.huge)
    for tenant, lane in pairs(due_lanes) do
      due_refresh(tenant)
      if tonumber(call("ZSCORE", keys.due, tenant.name)) < earliest then
        set_wake(lane.kind, true)
      end
    end
    due_lanes = {}
  end
end
