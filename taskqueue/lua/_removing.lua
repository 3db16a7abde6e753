-- Takes a QUEUED task out of the place it is in: its lane, or the delayed tasks of its tenant.

-- Plan half. Returns false when the task is in neither place.
local function plan_removal(id, header)
  local lane = header.lane
  plan_place(lane, true)
  header.is_delayed = call("ZSCORE", lane.tenant.delayed, id) ~= false
  return header.is_delayed or call("ZSCORE", lane.ready, id) ~= false
end

-- Apply half.
local function remove_queued(id, header)
  local lane = header.lane
  if header.is_delayed then
    call("ZREM", lane.tenant.delayed, id)
    due_refresh(lane.tenant)
    count_delayed(lane, -1)
  else
    call("ZREM", lane.ready, id)
    lane.is_changed = true
  end
  count_queued(lane, header.priority, -1)
end
