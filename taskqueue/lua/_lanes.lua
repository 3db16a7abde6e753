-- Lanes: which groups of a type may run now, and in which order.
-- The invariant: a group is in lanes:<type>, ranked by its real head, if and only if its ready set
-- is not empty and it is not parked. `lane_refresh` is the only writer of lanes:*; every script
-- ends with `refresh_lanes`, which calls it for whatever the script touched.
-- What a script knows of a lane or a tenant it keeps in one table, made once: building the names of
-- keys again for every task would cost more than the commands.
local WEIGHT_UNIT = 1000
local RESERVED = "!"

local known_tenants = {}
local function tenant_named(name)
  local tenant = known_tenants[name]
  if not tenant then
    tenant = {
      name = name,
      limit = keys.limit_tenant(name),
      count = keys.count_tenant(name),
      delayed = keys.delayed(name),
      finished = keys.finished(name),
    }
    known_tenants[name] = tenant
  end
  return tenant
end

local known_lanes = {}
local function lane_of(type, group)
  local groups = known_lanes[type]
  if not groups then
    groups = {}
    known_lanes[type] = groups
  end
  local lane = groups[group]
  if not lane then
    local reserved = sub(group, -1) == RESERVED
    lane = {
      type = type,
      group = group,
      reserved = reserved,
      tenant = tenant_named(reserved and sub(group, 1, -2) or group),
      ready = keys.ready(type, group),
      index = keys.lanes(type),
      queued = {},
      delayed = 0,
      processing = 0,
      held = 0,
    }
    groups[group] = lane
  end
  return lane
end

local type_names
local function all_types()
  type_names = type_names or call("SMEMBERS", keys.types)
  return type_names
end

local function read_type(type)
  local values = call("HMGET", keys.limit_type(type), "max", "used", "paused")
  local most = tonumber(values[1])
  return {
    room = most and max(0, most - tonumber(values[2] or 0)) or math.huge,
    paused = values[3] == "1",
  }
end

local function read_tenant(tenant)
  local values = call("HMGET", tenant.limit, "max", "used", "paused", "weight")
  local most = tonumber(values[1])
  tenant.most = most
  tenant.room = most and max(0, most - tonumber(values[2] or 0)) or math.huge
  tenant.paused = values[3] == "1"
  tenant.weight = tonumber(values[4] or 1)
  tenant.is_read = true
end

-- Lanes to refresh, and types that may have become runnable, at the end of the script.
local touched, touched_types = {}, {}

local function probe_type(type)
  probe("zset", keys.lanes(type))
  probe("list", keys.wake(type))
  probe("hash", keys.limit_type(type))
  probe("hash", keys.count_type(type))
end

local function touch_type(type)
  if not touched_types[type] then
    touched_types[type] = true
    probe_type(type)
  end
end

local function touch_one(lane)
  if not lane.is_touched then
    lane.is_touched = true
    touched[#touched + 1] = lane
    probe_type(lane.type)
    probe("zset", lane.ready)
    probe("hash", lane.tenant.count)
  end
end

-- All lanes of a tenant stand and fall together: with its limit, its pause and its service.
local function touch_family(tenant)
  probe("hash", tenant.limit)
  for _, type in ipairs(all_types()) do
    touch_one(lane_of(type, tenant.name))
    touch_one(lane_of(type, tenant.name .. RESERVED))
  end
end

-- Plan half of whatever changes a lane. Reads the lane's tenant.
local function touch_lane(lane)
  touch_type(lane.type)
  if lane.is_touched then
    return
  end
  touch_one(lane)
  local tenant = lane.tenant
  if not tenant.is_read then
    read_tenant(tenant)
    probe("set", keys.tenants)
    if policy.virtual then
      probe("zset", keys.virtual)
    end
    if policy.virtual or tenant.most then
      touch_family(tenant)
    end
  end
end

local function virtual_time(tenant)
  local virtual = call("ZSCORE", keys.virtual, tenant.name)
  return tonumber(virtual or 0), virtual ~= false
end

-- A tenant that comes back starts at the queue's virtual time at least: being idle, paused or full
-- earns no credit. That may change the rank of its other lanes: `lifted` asks for one more pass.
local lifted = false

-- Returns whether the index had to be changed.
local function lane_refresh(lane)
  local tenant, group = lane.tenant, lane.group
  local head = call("ZREVRANGE", lane.ready, 0, 0, "WITHSCORES")[2]
  local stored = call("ZSCORE", lane.index, group)
  if not head or tenant.paused or (tenant.room <= 0 and not lane.reserved) then
    if stored then
      call("ZREM", lane.index, group)
      return true
    end
    return false
  end
  head = tonumber(head)
  local rank = head
  if policy.virtual then
    local virtual, is_known = virtual_time(tenant)
    if not stored and (not is_known or virtual < meta.virtual) then
      virtual = max(virtual, meta.virtual)
      call("ZADD", keys.virtual, virtual, tenant.name)
      lifted = lifted or is_known
    end
    rank = policy.rank(head, priority_of(head), virtual)
  else
    rank = policy.rank(head, priority_of(head), 0)
  end
  if tonumber(stored) ~= rank then
    call("ZADD", lane.index, rank, group)
    return true
  end
  return false
end

-- Returns how many entries of the index had to be changed.
local function refresh_lanes()
  local changed = 0
  for _, tenant in pairs(known_tenants) do
    tenant.is_read = false
  end
  repeat
    lifted = false
    for _, lane in ipairs(touched) do
      if not lane.tenant.is_read then
        read_tenant(lane.tenant)
      end
      if lane_refresh(lane) then
        changed = changed + 1
        touched_types[lane.type] = true
      end
      lane.is_touched = false
    end
  until not lifted
  for _, tenant in pairs(known_tenants) do
    tenant.is_read = false
  end
  touched = {}
  return changed
end

local function is_runnable(type)
  if meta.paused then
    return false
  end
  local facts = read_type(type)
  return not facts.paused and facts.room > 0 and call("ZCARD", keys.lanes(type)) > 0
end

-- One marker at the most, never work: it wakes one idle scheduler, whose claim pushes it again if
-- it leaves work (a chain instead of a herd). A claim that leaves nothing takes the marker away.
local function set_wake(type, wanted)
  local key = keys.wake(type)
  local waiting = call("LLEN", key) > 0
  if wanted and not waiting then
    call("LPUSH", key, "1")
  elseif not wanted and waiting then
    call("DEL", key)
  end
end

local function wake_touched()
  for type in pairs(touched_types) do
    if is_runnable(type) then
      set_wake(type, true)
    end
  end
end
