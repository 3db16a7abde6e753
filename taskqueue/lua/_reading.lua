-- One task as it is now: record, the fields of its run, and when it is due if it is delayed.
local function read_task(id)
  local record = call("GET", keys.task .. id)
  if not record then
    return { "unknown" }
  end
  local run = call("HGETALL", keys.run .. id)
  local header = parse_header(record)
  local due = header and call("ZSCORE", header.lane.tenant.delayed, id) or ""
  return { "task", record, due, run }, call("HGET", keys.run .. id, "state")
end
