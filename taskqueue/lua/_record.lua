-- The header of a task's record: 1|sequence|created|type|tenant|group|priority|cost|flags|
-- fingerprint|idem|max_attempts|timeout|hook|extras_len\n, at most HEADER bytes (taskqueue/codec.py).
-- cost is "4", or "4-10" where up to 10 may be charged.
local HEADER = 512
local COMMON_PATTERN = "^([^|\n]+)|([^|\n]+)|([^|\n]*)|(%d+)|(%d+)%-?(%d*)|%a*|([^|\n]*)|([^|\n]*)|%d*|%d*|(%w*)|"

-- What follows the first three fields is the same for most tasks of a lane, and so is read once a script.
local known_commons = {}
local function common_of(rest)
  local common = known_commons[rest]
  if common == nil then
    local type, tenant, group, priority, cost, hold, fingerprint, idem, hook = match(rest, COMMON_PATTERN)
    common = type and {
      type = type,
      lane = lane_of(type, group == "" and tenant or group),
      priority = tonumber(priority),
      cost = tonumber(cost),
      hold = tonumber(hold ~= "" and hold or cost),
      hook = hook,
      fingerprint = fingerprint,
      idem = idem,
      idem_key = false,
      hook_lane = false,
      waiting = false,
      is_delayed = false,
    }
    common = common and { __index = common } or false
    known_commons[rest] = common
  end
  return common
end

-- A header has its own place and instant; every other field it finds in what is common.
local function parse_header(record)
  local sequence, created, at = match(record, "^1|(%d+)|(%d+)|()")
  local common = at and common_of(sub(record, at, (find(record, "\n", at, true) or 0) - 1))
  if not common then
    return nil
  end
  return setmetatable({ sequence = tonumber(sequence), created = tonumber(created) }, common)
end

-- nil: there is no record, or none that this version can read.
local function read_header(id)
  return parse_header(call("GETRANGE", keys.task .. id, 0, HEADER - 1))
end
