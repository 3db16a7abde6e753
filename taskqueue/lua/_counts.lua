-- Counters are changed by differences, gathered on the lanes while a script works and written once
-- per field. A field that reaches zero goes, so that an idle tenant leaves nothing behind.

local function count_queued(lane, priority, by)
  lane.queued[priority] = (lane.queued[priority] or 0) + by
  lane.is_counted = true
end

local function count_delayed(lane, by)
  lane.delayed = lane.delayed + by
  lane.is_counted = true
end

-- A slot of the type is used while a task is PROCESSING; so is one of the tenant, unless the task
-- was reserved: then it holds the tenant's slot from enqueue to its end (count_held).
local function count_processing(lane, by)
  lane.processing = lane.processing + by
  lane.is_counted = true
end

local function count_held(lane, by)
  lane.held = lane.held + by
  lane.is_counted = true
end

local tallies = {}
local function tally(key, field, by)
  local fields = tallies[key]
  if not fields then
    fields = {}
    tallies[key] = fields
  end
  fields[field] = (fields[field] or 0) + by
end

-- The slots of a type or tenant that are used. How many there were has been read: by whoever touched the lane.
local used_changed = {}
local function count_used(limited, by)
  if by ~= 0 then
    limited.used = limited.used + by
    used_changed[limited] = true
  end
end

local function tally_lane(lane)
  local type, tenant, count_type = lane.type, lane.tenant, lane.kind.count
  for priority, by in pairs(lane.queued) do
    local name = text(priority)
    tally(count_type, "queued:" .. name, by)
    tally(tenant.count, "queued:" .. type .. ":" .. name, by)
    tally(tenant.count, "queued", by)
  end
  if lane.delayed ~= 0 then
    tally(count_type, "delayed", lane.delayed)
    tally(tenant.count, "delayed:" .. type, lane.delayed)
  end
  count_used(lane.kind, lane.processing)
  if lane.processing ~= 0 then
    tally(tenant.count, "processing:" .. type, lane.processing)
  end
  local slots = lane.held + (lane.reserved and 0 or lane.processing)
  count_used(tenant, slots)
  lane.queued, lane.delayed, lane.processing, lane.held, lane.is_counted = {}, 0, 0, 0, false
end

-- One field is changed by one command, several by one look and one command for those that stay and for
-- those that go.
local function write_fields(key, fields)
  local names = {}
  for field, by in pairs(fields) do
    if by ~= 0 then
      names[#names + 1] = field
    end
  end
  if #names == 1 then
    if call("HINCRBY", key, names[1], fields[names[1]]) == 0 then
      call("HDEL", key, names[1])
    end
  elseif #names > 1 then
    local stored, kept, gone = call("HMGET", key, unpack(names)), {}, {}
    for index, name in ipairs(names) do
      local value = tonumber(stored[index] or 0) + fields[name]
      if value == 0 then
        gone[#gone + 1] = name
      else
        kept[#kept + 1], kept[#kept + 2] = name, value
      end
    end
    send("HSET", key, kept)
    send("HDEL", key, gone)
  end
end

local function write_tallies()
  for _, lane in ipairs(touched) do
    if lane.is_counted then
      tally_lane(lane)
    end
  end
  for key, fields in pairs(tallies) do
    write_fields(key, fields)
  end
  for limited in pairs(used_changed) do
    if limited.used == 0 then
      call("HDEL", limited.limit, "used")
    else
      call("HSET", limited.limit, "used", limited.used)
    end
  end
  tallies, used_changed = {}, {}
end
