#!lua flags=no-writes
--[[
stats: what is queued and what runs, of the whole queue, a type, a tenant, or a type of a tenant.

KEYS
  meta    hash  settings of the queue
  types   set   types ever seen
ARGV
  prefix  str   of the queue's keys
  now     int   "" reads the server's clock
  type    str   only this type; "" for all
  tenant  str   only this tenant; "" for all
RETURNS
  {"stats", oldest, limits, counts}
      oldest  created ms of the oldest ready task seen, or "" (see docs/keys.md: exact for a
              tenant; for a whole type the heads of its first and last 50 lanes are looked at)
      limits  per scope four: scope:name, max or "", used, "1" if paused
      counts  field, value ... as in count:tenant (queued:<type>:<priority>, ...)
  {"no_queue"}
MOVES
  nothing
COST
  O(types)
]]
-- include: base keys meta policy lanes record oldest
local types, only_type, only_tenant = KEYS[2], ARGV[3], ARGV[4]
local SAMPLE = 50

local names = only_type ~= "" and { only_type } or call("SMEMBERS", types)
local limits, counts = {}, {}

local function add_limit(scope, name, key)
  local values = call("HMGET", key, "max", "used", "paused")
  limits[#limits + 1] = scope .. ":" .. name
  limits[#limits + 1] = values[1] or ""
  limits[#limits + 1] = values[2] or "0"
  limits[#limits + 1] = values[3] or ""
end

local function count_in(type)
  add_limit("type", type, keys.limit_type .. type)
  if only_tenant ~= "" then
    see_lane(type, only_tenant)
    see_lane(type, only_tenant .. "!")
  else
    local index = keys.lanes .. type
    for _, range in ipairs({ { 0, SAMPLE - 1 }, { -SAMPLE, -1 } }) do
      for _, group in ipairs(call("ZREVRANGE", index, range[1], range[2])) do
        see_lane(type, group)
      end
    end
    local fields = call("HGETALL", keys.count_type .. type)
    for at = 1, #fields, 2 do
      counts[#counts + 1] = match(fields[at], "^queued:") and "queued:" .. type .. ":" .. sub(fields[at], 8)
        or fields[at] .. ":" .. type
      counts[#counts + 1] = fields[at + 1]
    end
  end
end

for _, type in ipairs(names) do
  -- Deliveries are looked at only by whoever asks for them.
  if only_type ~= "" or sub(type, 1, 1) ~= "_" then
    count_in(type)
  end
end
if only_tenant ~= "" then
  add_limit("tenant", only_tenant, keys.limit_tenant .. only_tenant)
  counts = call("HGETALL", keys.count_tenant .. only_tenant)
end
return { "stats", oldest and now - oldest or "", limits, counts }
