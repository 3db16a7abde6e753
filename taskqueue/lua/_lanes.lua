-- Lanes: which groups of a type may run now, and in which order.
-- The invariant: a group is in lanes:<type>, ranked by its real head, if and only if its ready set
-- is not empty and it is not parked. `lane_refresh` is the only writer of lanes:*; every script
-- ends with `refresh_lanes`, which calls it for whatever the script touched.
-- What a script knows of a type, a tenant or a lane it keeps in one table, made once and read once,
-- when the script first touches it; whoever changes it on the server changes it there too.
local WEIGHT_UNIT = 1000
local RESERVED = "!"
local DELIVERIES_A_HOST = 4

local known_types = {}
local function type_named(name)
  local kind = known_types[name]
  if not kind then
    kind = {
      name = name,
      index = keys.lanes .. name,
      wake = keys.wake .. name,
      limit = keys.limit_type .. name,
      count = keys.count_type .. name,
      groups = {},
      is_read = false,
      most = false,
      used = 0,
      is_paused = false,
      lanes = 0,
      is_awake = false,
    }
    known_types[name] = kind
  end
  return kind
end

local known_tenants = {}
local function tenant_named(name)
  local tenant = known_tenants[name]
  if not tenant then
    tenant = {
      name = name,
      limit = keys.limit_tenant .. name,
      count = keys.count_tenant .. name,
      delayed = keys.delayed .. name,
      finished = keys.finished .. name,
      is_read = false,
      most = false,
      used = 0,
      is_paused = false,
      weight = 1,
      is_metered = false,
      balance = 0,
      held = 0,
      waits = false,
    }
    known_tenants[name] = tenant
  end
  return tenant
end

local function lane_of(type, group)
  local kind = type_named(type)
  local lane = kind.groups[group]
  if not lane then
    local is_reserved = sub(group, -1) == RESERVED
    lane = {
      type = type,
      kind = kind,
      group = group,
      reserved = is_reserved,
      tenant = tenant_named(is_reserved and sub(group, 1, -2) or group),
      ready = keys.ready .. type .. ":" .. group,
      is_touched = false,
      is_changed = false,
      is_counted = false,
      seen = false,
      queued = {},
      delayed = 0,
      processing = 0,
      held = 0,
    }
    kind.groups[group] = lane
  end
  return lane
end

local type_names
local function all_types()
  type_names = type_names or call("SMEMBERS", keys.types)
  return type_names
end

-- Both limits have these fields. Names that begin with "_" are of deliveries to one host.
local function read_limit(limited, values)
  local is_host = limited.delayed and sub(limited.name, 1, 1) == "_"
  limited.most = tonumber(values[1] or nil) or (is_host and DELIVERIES_A_HOST)
  limited.used = tonumber(values[2] or 0)
  limited.is_paused = values[3] == "1"
  limited.is_read = true
end

local function read_type(kind)
  if not kind.is_read then
    read_limit(kind, call("HMGET", kind.limit, "max", "used", "paused"))
    kind.lanes = call("ZCARD", kind.index)
    kind.is_awake = call("LLEN", kind.wake) > 0
  end
end

local function read_tenant(tenant)
  if not tenant.is_read then
    local values =
      call("HMGET", tenant.limit, "max", "used", "paused", "weight", "granted", "spent", "held", "waits")
    read_limit(tenant, values)
    tenant.weight = tonumber(values[4] or 1)
    tenant.is_metered = values[5] ~= false
    tenant.balance = tonumber(values[5] or 0) - tonumber(values[6] or 0)
    tenant.held = tonumber(values[7] or 0)
    tenant.waits = values[8] == "1"
  end
end

-- For whoever has just written limits by other ways than the counters.
local function forget_limits()
  for _, limited in ipairs({ known_types, known_tenants }) do
    for _, each in pairs(limited) do
      each.is_read = false
    end
  end
end

-- How many more may run, as far as the limit of a type or tenant is concerned.
local function room_of(limited)
  return limited.most and max(0, limited.most - limited.used) or math.huge
end

-- Lanes to refresh, and types that may have become runnable, at the end of the script.
local touched, touched_types = {}, {}

local function touch_type(kind)
  if not touched_types[kind] then
    touched_types[kind] = true
    read_type(kind)
  end
end

local function touch_one(lane)
  if not lane.is_touched then
    lane.is_touched = true
    touched[#touched + 1] = lane
    touch_type(lane.kind)
    probe("hash", lane.kind.count)
    probe("hash", lane.tenant.count)
  end
end

-- All lanes of a tenant stand and fall together: with its limit, its pause and its service.
local function touch_family(tenant)
  probe("hash", tenant.limit)
  if sub(tenant.name, 1, 1) == "_" then
    return
  end
  for _, type in ipairs(all_types()) do
    for _, group in ipairs({ tenant.name, tenant.name .. RESERVED }) do
      touch_one(lane_of(type, group))
      probe("zset", lane_of(type, group).ready)
    end
  end
end

-- Plan half of whatever changes a lane. Reads the lane's type and tenant; whoever adds or takes tasks
-- reads or probes `ready` besides.
local function touch_lane(lane)
  if lane.is_touched then
    return
  end
  touch_one(lane)
  local tenant = lane.tenant
  if not tenant.is_touched then
    tenant.is_touched = true
    read_tenant(tenant)
    if policy.virtual then
      probe("zset", keys.virtual)
    end
    if policy.virtual or tenant.most or tenant.is_metered then
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

local function rank_of(lane, head, is_in_index)
  if not policy.virtual then
    return policy.rank(head, priority_of(head), 0)
  end
  local virtual, is_known = virtual_time(lane.tenant)
  if not is_in_index and (not is_known or virtual < meta.virtual) then
    virtual = max(virtual, meta.virtual)
    call("ZADD", keys.virtual, virtual, lane.tenant.name)
    lifted = lifted or is_known
  end
  return policy.rank(head, priority_of(head), virtual)
end

-- Returns whether the index had to be changed.
local function lane_refresh(lane)
  local tenant, kind, group = lane.tenant, lane.kind, lane.group
  read_tenant(tenant)
  local seen = lane.seen
    or { call("ZREVRANGE", lane.ready, 0, 0, "WITHSCORES")[2] or false, call("ZSCORE", kind.index, group) }
  local head, stored = seen[1], seen[2]
  lane.seen = false
  local is_parked = tenant.is_paused or tenant.waits or (room_of(tenant) <= 0 and not lane.reserved)
  if not head or is_parked then
    if stored then
      call("ZREM", kind.index, group)
      kind.lanes = kind.lanes - 1
    end
    return stored ~= false
  end
  local rank = rank_of(lane, tonumber(head), stored ~= false)
  if tonumber(stored or nil) == rank then
    return false
  end
  call("ZADD", kind.index, rank, group)
  kind.lanes = kind.lanes + (stored and 0 or 1)
  return true
end

-- A lane that gained and lost no task can only have changed with its tenant. `all`: whatever has
-- happened to them. Returns how many entries of the index had to be changed.
local function refresh_lanes(all)
  local changed = 0
  repeat
    lifted = false
    for _, lane in ipairs(touched) do
      if all or lane.is_changed or policy.virtual or lane.tenant.most or lane.tenant.is_metered then
        if lane_refresh(lane) then
          changed = changed + 1
        end
      end
    end
  until not lifted
  for _, lane in ipairs(touched) do
    lane.is_touched, lane.is_changed, lane.tenant.is_touched = false, false, false
  end
  touched = {}
  return changed
end

local function is_runnable(kind)
  read_type(kind)
  return not meta.paused and not kind.is_paused and kind.lanes > 0 and room_of(kind) > 0
end

-- One marker at the most, never work: it wakes one idle scheduler, whose claim pushes it again if
-- it leaves work (a chain instead of a herd). A claim that leaves nothing takes the marker away.
local function set_wake(kind, wanted)
  if wanted and not kind.is_awake then
    call("LPUSH", kind.wake, "1")
  elseif not wanted and kind.is_awake then
    call("DEL", kind.wake)
  end
  kind.is_awake = wanted
end

local function wake_touched()
  for kind in pairs(touched_types) do
    if is_runnable(kind) then
      set_wake(kind, true)
    end
  end
end
