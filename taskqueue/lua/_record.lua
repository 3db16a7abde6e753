-- The header of a task's record: 1|sequence|created|type|tenant|group|priority|cost|flags|
-- fingerprint|idem|max_attempts|timeout|hook|extras_len\n, at most HEADER bytes (taskqueue/codec.py).
-- cost is "4", or "4-10" where up to 10 may be charged.
local HEADER = 512
local HEADER_PATTERN = "^1|(%d+)|(%d+)|([^|\n]+)|([^|\n]+)|([^|\n]*)|(%d+)|(%d+)%-?(%d*)|%a*|([^|\n]*)|([^|\n]*)|"
  .. "%d*|%d*|(%w*)|"

local function parse_header(record)
  local sequence, created, type, tenant, group, priority, cost, hold, fingerprint, idem, hook =
    match(record, HEADER_PATTERN)
  if not sequence then
    return nil
  end
  return {
    sequence = tonumber(sequence),
    created = tonumber(created),
    type = type,
    lane = lane_of(type, group == "" and tenant or group),
    priority = tonumber(priority),
    cost = tonumber(cost),
    hold = tonumber(hold ~= "" and hold or cost),
    hook = hook,
    fingerprint = fingerprint,
    idem = idem,
    waiting = false,
    is_delayed = false,
  }
end

-- nil: there is no record, or none that this version can read.
local function read_header(id)
  return parse_header(call("GETRANGE", keys.task .. id, 0, HEADER - 1))
end
