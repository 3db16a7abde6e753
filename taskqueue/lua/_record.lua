-- The header of a task's record: 1|sequence|created|type|tenant|group|priority|cost|flags|
-- fingerprint|idem|max_attempts|timeout|extras_len\n, at most HEADER bytes (taskqueue/codec.py).
local HEADER = 512
local HEADER_PATTERN = "^1|(%d+)|(%d+)|([^|\n]+)|([^|\n]+)|([^|\n]*)|(%d+)|%d+|%a*|([^|\n]*)|([^|\n]*)|"

local function parse_header(record)
  local sequence, created, type, tenant, group, priority, fingerprint, idem = match(record, HEADER_PATTERN)
  if not sequence then
    return nil
  end
  return {
    sequence = tonumber(sequence),
    created = tonumber(created),
    type = type,
    lane = lane_of(type, group == "" and tenant or group),
    priority = tonumber(priority),
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
