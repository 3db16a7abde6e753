-- Why a task is not accepted, for enqueue: what was accepted before by the same id, then its rate, room,
-- idempotency key, credits and slot. All of it is plan half; what nothing refuses counts for the tasks
-- that follow.
local by_task_key, by_idem_key = {}, {}

local function fingerprint_of(record)
  return match(record, "^[^|]*|[^|]*|[^|]*|%d+|%d+%-?%d*|%a*|([^|]*)|")
end

-- The refusal of a task whose id or key is taken by a task with the fingerprint `theirs`.
local function taken(holder, theirs, record, what)
  return { "taken", holder, theirs == fingerprint_of(record) and 1 or 0, what }
end

-- What there is to say about an id that is stored: its task was accepted before, or is another one.
local function earlier(key, record)
  local id = sub(key, id_starts)
  local stored = read_header(id)
  if stored and stored.fingerprint == fingerprint_of(record) then
    local instant = call("ZSCORE", stored.lane.tenant.delayed, id)
    return { "accepted", stored.sequence, stored.created, instant or "" }
  end
  return { "taken", id, 0, "id" }
end

-- The word and the limit that refuse one request with all its tasks; nil accepts it, and so does a call
-- that was made before: it was counted then, and its own tasks take its room.
local function refusal_of_whole()
  for index = 1, known > 0 and count or 0 do
    local key = KEYS[first_task_key + index - 1]
    if call("EXISTS", key) == 1 then
      if earlier(key, ARGV[first_task + index * width - 1])[1] == "accepted" then
        return nil
      end
    end
  end
  if rates[1] and pass(rates[1], 1) == 0 then
    return "limited", rates[1].limit
  end
  for _, band in pairs(max_queued and bands or {}) do
    if not band.lane.reserved and band.lane.tenant.queued + whole > max_queued then
      return "full", max_queued
    end
  end
  return nil
end

-- The refusal by what no two tasks may share, or nil; and the key of the task's idempotency key.
local function refusal_by_key(key, record, digest, tenant)
  local idem = digest ~= "" and keys.idem .. tenant.name .. ":" .. digest
  if idem then
    local holder, twin = call("GET", idem), by_idem_key[idem]
    if holder then
      local stored = read_header(holder)
      return taken(holder, stored and stored.fingerprint, record, "key")
    elseif twin then
      return taken(sub(twin.key, id_starts), fingerprint_of(twin.record), record, "key")
    end
  end
  return nil, idem
end

-- The refusal of the task whose arguments begin at `at`, or what an earlier call answered to the
-- same id; nil accepts it.
local function refusal(key, at, lane)
  local tenant, record = lane.tenant, ARGV[at + width - 1]
  local before = known > 0 and call("EXISTS", key) == 1 and earlier(key, record)
  if before and before[1] == "accepted" then
    return before
  end
  local rate = width == 5 and rates[tonumber(ARGV[at + 3])]
  if rate and pass(rate, 1) == 0 then
    return { "limited", rate.limit, "", "" }
  elseif before then
    return before
  end
  local twin = by_task_key[key]
  if twin then
    return taken(sub(key, id_starts), fingerprint_of(twin), record, "id")
  end
  -- A reserved task starts at once, or is refused for lack of a slot: no full queue keeps it out.
  if max_queued and not lane.reserved and tenant.queued >= max_queued then
    return { "full", max_queued, "", "" }
  end
  local conflict, idem = refusal_by_key(key, record, width > 2 and ARGV[at + 2] or "", tenant)
  if conflict then
    return conflict
  end
  local cost = tenant.is_metered and tonumber(match(record, "^[^|]*|[^|]*|[^|]*|%d+|(%d+)")) or 0
  if cost > tenant.funds then
    return { "poor", cost, tenant.funds, "" }
  elseif lane.reserved and tenant.room <= 0 then
    return { "no_slot", tenant.most, "", "" }
  end
  -- Nothing refuses it any more: it counts for the tasks that follow.
  if max_queued then
    tenant.queued = tenant.queued + 1
  end
  if lane.reserved then
    tenant.room = tenant.room - 1
  end
  if together then
    tenant.funds = tenant.funds - cost
  end
  by_task_key[key] = record
  if idem then
    by_idem_key[idem] = { key = key, record = record }
  end
  return nil
end
