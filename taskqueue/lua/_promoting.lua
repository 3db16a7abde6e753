-- Moves what is due from `delayed` to its place in its lane: bounded, earliest instants first.
local PROMOTED_TENANTS = 20

-- Returns how many were moved, and whether more may be due. Refreshes the lanes itself.
local function promote_due(limit)
  -- Plan
  local moves, gone, moved = {}, {}, 0
  local names = call("ZRANGEBYSCORE", keys.due, "-inf", now, "LIMIT", 0, PROMOTED_TENANTS)
  for _, name in ipairs(names) do
    if moved >= limit then
      break
    end
    local tenant = tenant_named(name)
    local ids = call("ZRANGEBYSCORE", tenant.delayed, "-inf", now, "LIMIT", 0, limit - moved)
    gone[tenant] = ids
    moved = moved + #ids
    for _, id in ipairs(ids) do
      local header = read_header(id)
      if header then
        plan_place(header.lane)
        moves[#moves + 1] = { id, header }
      end
    end
  end
  if #names == 0 then
    return 0, false
  end

  -- Apply
  for tenant, ids in pairs(gone) do
    send("ZREM", tenant.delayed, ids)
    due_refresh(tenant)
  end
  for _, move in ipairs(moves) do
    local header = move[2]
    count_delayed(header.lane, -1)
    place(move[1], header.lane, header.priority, header.sequence)
  end
  write_tallies()
  write_places()
  refresh_lanes()
  return moved, moved >= limit or #names >= PROMOTED_TENANTS
end
