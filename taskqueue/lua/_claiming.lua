-- Claims: the best tasks over all lanes of the wanted types, in exact order, up to what was asked.
-- Lanes are merged by a heap. A lane is opened (its first tasks read) only when its rank in the
-- index comes to the top, and read in windows that grow; nothing that is parked or whose type has
-- no room is looked at. So a claim costs O(types + log lanes) and O(log n) a task.
local PROMOTE_AT_CLAIM = 200
local INDEX_WINDOW = 32
local REPLY_BYTES = 4194304

local taken, opened = {}, {}
local limit_of_claim, virtual_of_claim

-- Puts the next lane of a type's index on the heap, unopened: an entry with a rank and no tasks.
local function next_lane(want)
  if not want.entries or (want.at > #want.entries and #want.entries == INDEX_WINDOW * 2) then
    local from = want.offset
    want.entries = call("ZREVRANGE", keys.lanes(want.type), from, from + INDEX_WINDOW - 1, "WITHSCORES")
    want.offset = from + INDEX_WINDOW
    want.at = 1
  end
  local group = want.entries[want.at]
  if group then
    heap_push({ want = want, group = group, rank = tonumber(want.entries[want.at + 1]), head = math.huge })
    want.at = want.at + 2
  end
end

local function read_window(entry)
  local from = entry.read
  local size = min(entry.window, limit_of_claim - #taken)
  entry.tasks = call("ZREVRANGE", entry.lane.ready, from, from + size - 1, "WITHSCORES")
  entry.read = from + size
  entry.window = entry.window * 2
  entry.at = 1
end

-- Ranks an opened lane by its real head; false when it has no task left.
local function rank_entry(entry)
  if entry.at > #entry.tasks then
    if #taken >= limit_of_claim then
      return false
    end
    read_window(entry)
  end
  local head = tonumber(entry.tasks[entry.at + 1])
  if not head then
    return false
  end
  entry.head = head
  entry.priority = priority_of(head)
  entry.rank = policy.rank(head, entry.priority, entry.lane.tenant.virtual)
  return true
end

local function open_lane(entry)
  local lane = lane_of(entry.want.type, entry.group)
  touch_lane(lane)
  local tenant = lane.tenant
  if policy.virtual then
    tenant.virtual = tenant.virtual or virtual_time(tenant)
  else
    tenant.virtual = 0
  end
  entry.lane, entry.taken, entry.read, entry.tasks, entry.at = lane, 0, 0, {}, 1
  -- Alone, it will be read in one go; among many, a little at a time.
  entry.window = max(2, math.ceil((limit_of_claim - #taken) / (#heap + 1)))
  opened[#opened + 1] = entry
  return rank_entry(entry)
end

local function service_cost(tenant)
  return max(1, floor(WEIGHT_UNIT / tenant.weight))
end

local function take_head(entry)
  local lane = entry.lane
  local tenant = lane.tenant
  local id = entry.tasks[entry.at]
  -- Every field is named here: a table that grows later is built again and again.
  taken[#taken + 1] = {
    id = id, entry = entry, priority = entry.priority, run = keys.run(id),
    record = false, token = false, attempt = 1, deliveries = 1, crashes = 0,
  }
  entry.taken = entry.taken + 1
  entry.at = entry.at + 2
  entry.want.open = entry.want.open - 1
  if not lane.reserved then
    tenant.room = tenant.room - 1
  end
  if policy.virtual then
    virtual_of_claim = max(virtual_of_claim, tenant.virtual)
    tenant.virtual = tenant.virtual + service_cost(tenant)
  end
end

-- Every turn opens, drops, re-ranks or takes; each of these happens a bounded number of times.
local function choose_tasks()
  while #taken < limit_of_claim do
    local entry = heap[1]
    if not entry then
      return
    end
    local rank = entry.rank
    if entry.want.open <= 0 then
      heap_pop()
    elseif not entry.tasks then
      heap_pop()
      next_lane(entry.want)
      if open_lane(entry) then
        heap_push(entry)
      end
    elseif entry.lane.tenant.room <= 0 and not entry.lane.reserved then
      heap_pop()
    elseif policy.virtual and rank_entry(entry) and entry.rank ~= rank then
      -- Its tenant was served through another lane meanwhile.
      heap_sift_down()
    else
      take_head(entry)
      if rank_entry(entry) then
        heap_sift_down()
      else
        heap_pop()
      end
    end
  end
end

-- Gives back what does not fit into one reply: always the tail of its lane.
local function untake_from(first)
  for index = #taken, first, -1 do
    local entry = taken[index].entry
    entry.taken = entry.taken - 1
    if policy.virtual then
      entry.lane.tenant.virtual = entry.lane.tenant.virtual - service_cost(entry.lane.tenant)
    end
    taken[index] = nil
  end
end

local function read_runs()
  local bytes = 0
  for index, task in ipairs(taken) do
    task.record = call("GET", keys.task(task.id))
    bytes = bytes + #(task.record or "")
    if bytes > REPLY_BYTES and index > 1 then
      untake_from(index)
      return
    end
    local run = call("HMGET", task.run, "attempt", "deliveries", "crashes")
    if run[2] then
      task.attempt = tonumber(run[1] or 0) + 1
      task.deliveries = tonumber(run[2]) + 1
      task.crashes = tonumber(run[3] or 0)
    end
  end
end

local function write_task(task, lane, worker, request)
  task.token = text(task.deliveries) .. "-" .. request
  if task.deliveries == 1 then
    call("HSET", task.run, "state", "PROCESSING", "token", task.token, "attempt", task.attempt,
      "deliveries", 1, "worker", worker, "started_at", now)
  else
    call("HSET", task.run, "state", "PROCESSING", "token", task.token, "attempt", task.attempt,
      "deliveries", task.deliveries, "worker", worker)
  end
  count_processing(lane, 1)
end

local function write_claim(worker, request, claims, lease)
  local leases, stored = {}, { request }
  for _, entry in ipairs(opened) do
    if entry.taken > 0 then
      call("ZPOPMAX", entry.lane.ready, entry.taken)
    end
  end
  for _, task in ipairs(taken) do
    local lane = task.entry.lane
    count_queued(lane, task.priority, -1)
    -- Without a record there is nothing to run: the id only leaves the lane.
    if task.record then
      leases[#leases + 1] = now + lease
      leases[#leases + 1] = task.id
      stored[#stored + 1] = task.id
      write_task(task, lane, worker, request)
    end
  end
  send("ZADD", keys.leased, leases)
  call("SET", claims, table.concat(stored, "\n"), "PX", max(lease, 60000))
  if policy.virtual then
    for _, entry in ipairs(opened) do
      call("ZADD", keys.virtual, entry.lane.tenant.virtual, entry.lane.tenant.name)
    end
    call("HSET", KEYS[1], "virtual", virtual_of_claim)
    meta.virtual = virtual_of_claim
  end
  write_tallies()
end

local function add_claimed(reply, id, token, attempt, deliveries, crashes, record)
  local at = #reply
  reply[at + 1], reply[at + 2], reply[at + 3] = id, token, attempt
  reply[at + 4], reply[at + 5], reply[at + 6] = deliveries, crashes, record
end

-- The same request again (its reply was lost) gets the same tasks again.
local function replay(request, stored, more)
  local reply = { "claimed", now, next_due() or "", more }
  for id in string.gmatch(stored, "\n([^\n]+)") do
    local run = call("HMGET", keys.run(id), "state", "token", "attempt", "deliveries", "crashes")
    local record = call("GET", keys.task(id))
    if record and run[1] == "PROCESSING" and run[2] == run[4] .. "-" .. request then
      add_claimed(reply, id, run[2], tonumber(run[3]), tonumber(run[4]), tonumber(run[5] or 0), record)
    end
  end
  return reply
end

-- The arguments of a claim stand at the end of ARGV: worker, request, lease, limit, then each type
-- with its free slots. Returns the reply.
local function claim_tasks(at, claims)
  local worker, request = ARGV[at], ARGV[at + 1]
  local lease, limit = tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3])
  local wants, more = {}, 0
  for index = at + 4, #ARGV, 2 do
    wants[#wants + 1] = { type = ARGV[index], slots = tonumber(ARGV[index + 1]), offset = 0 }
    touch_type(ARGV[index])
  end
  local stored = call("GET", claims)
  if stored and sub(stored .. "\n", 1, #request + 1) == request .. "\n" then
    for _, want in ipairs(wants) do
      more = is_runnable(want.type) and 1 or more
    end
    return replay(request, stored, more)
  end
  probe("zset", keys.leased)
  probe("zset", keys.due)
  promote_due(PROMOTE_AT_CLAIM)

  -- Plan
  limit_of_claim, virtual_of_claim = limit, meta.virtual
  if not meta.paused and limit > 0 then
    for _, want in ipairs(wants) do
      local facts = read_type(want.type)
      want.open = facts.paused and 0 or min(want.slots, facts.room)
      if want.open > 0 then
        next_lane(want)
      end
    end
    choose_tasks()
    read_runs()
  end

  -- Apply
  if #taken > 0 then
    write_claim(worker, request, claims, lease)
  end
  refresh_lanes()
  for _, want in ipairs(wants) do
    local runnable = is_runnable(want.type)
    set_wake(want.type, runnable)
    touched_types[want.type] = nil
    more = runnable and 1 or more
  end
  wake_touched()
  local reply = { "claimed", now, next_due() or "", more }
  for _, task in ipairs(taken) do
    if task.record then
      add_claimed(reply, task.id, task.token, task.attempt, task.deliveries, task.crashes, task.record)
    end
  end
  return reply
end
