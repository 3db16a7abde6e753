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

local function tally_lane(lane)
  local type, tenant, count_type = lane.type, lane.tenant, lane.kind.count
  for priority, by in pairs(lane.queued) do
    local name = text(priority)
    tally(count_type, "queued:" .. name, by)
    tally(tenant.count, "queued:" .. type .. ":" .. name, by)
    tally(tenant.count, "queued", by)
  end
  tally(count_type, "delayed", lane.delayed)
  tally(tenant.count, "delayed:" .. type, lane.delayed)
  tally(lane.kind.limit, "used", lane.processing)
  tally(tenant.count, "processing:" .. type, lane.processing)
  local slots = lane.held + (lane.reserved and 0 or lane.processing)
  tally(tenant.limit, "used", slots)
  lane.kind.used = lane.kind.used + lane.processing
  tenant.used = tenant.used + slots
  lane.queued, lane.delayed, lane.processing, lane.held, lane.is_counted = {}, 0, 0, 0, false
end

local function write_tallies()
  for _, lane in ipairs(touched) do
    if lane.is_counted then
      tally_lane(lane)
    end
  end
  for key, fields in pairs(tallies) do
    for field, by in pairs(fields) do
      if by ~= 0 and call("HINCRBY", key, field, by) == 0 then
        call("HDEL", key, field)
      end
    end
  end
  tallies = {}
end
