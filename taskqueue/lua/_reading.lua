-- One task as it is now: record, the fields of its run, and when it is due if it is delayed.
-- With a tenant, another one's task is unknown: as one that is not there it costs a look at the header
-- and no more, so that no time tells which it is.
local function read_task(id, tenant)
  if tenant and tenant ~= "" then
    local head = call("GETRANGE", keys.task .. id, 0, HEADER - 1)
    local header = parse_header(head)
    if head == "" or (header and header.lane.tenant.name ~= tenant) then
      return { "unknown" }
    end
  end
  local record = call("GET", keys.task .. id)
  if not record then
    return { "unknown" }
  end
  local run = call("HGETALL", keys.run .. id)
  local header = parse_header(record)
  local due = header and call("ZSCORE", header.lane.tenant.delayed, id) or ""
  return { "task", record, due, run }, call("HGET", keys.run .. id, "state")
end
