-- Claims: lends what was chosen to one worker, or gives a repeated request the same tasks again.
local PROMOTE_AT_CLAIM = 200
local function write_task(task, tenant, worker, token)
  local run = task.run
  if task.hold then
    call("HSET", run, "hold", task.hold)
    tally(tenant.limit, "held", task.hold)
  end
  if task.provider then
    call("HSET", run, "provider", start_on(task.provider))
  end
  if task.deliveries == 1 then
    call("HSET", run, "state", "PROCESSING", "token", token, "attempt", "1", "deliveries", "1",
      "worker", worker, "started_at", now)
  else
    call("HSET", run, "state", "PROCESSING", "token", text(task.deliveries) .. sub(token, 2),
      "attempt", task.attempt, "deliveries", task.deliveries, "worker", worker)
  end
end

local function write_claim(worker, request, claims, lease)
  local leases, stored, size = {}, { request }, 0
  local first_token, ends_at = "1-" .. request, now + lease
  for _, entry in ipairs(opened) do
    -- What was taken is the top of the lane: tasks that are ended have left it already.
    if entry.taken > 0 then
      call("ZPOPMAX", entry.lane.ready, entry.taken)
      local lane, head = entry.lane, entry.tasks[entry.at + 1]
      lane.is_changed = true
      -- What has been read of it says mostly which task is first when these are gone.
      if #broke == 0 and (head or #entry.tasks < entry.size) then
        lane.seen = { head or false, entry.indexed }
      end
    end
  end
  for index = 1, #taken do
    local task = taken[index]
    local lane = task.entry.lane
    count_queued(lane, task.priority, -1)
    -- Without a record there is nothing to run: the id only leaves the lane.
    if task.record then
      leases[size * 2 + 1], leases[size * 2 + 2], stored[size + 2] = ends_at, task.id, task.id
      size = size + 1
      write_task(task, lane.tenant, worker, first_token)
      count_processing(lane, 1)
    elseif task.provider then
      task.provider.left = task.provider.left + 1
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

-- What is to be said of most runs, the request says already: it is their first.
local function add_claimed(reply, at, task)
  local run = ""
  if task.deliveries > 1 or task.provider then
    local provider = task.provider and task.provider.name or ""
    run = format("%d %d %d %s", task.deliveries, task.attempt, task.crashes, provider)
  end
  reply[at], reply[at + 1], reply[at + 2] = task.id, run, task.record
end

-- A type runs if one of its lanes may and, where it is sent to providers, one of these has room.
local function is_wanted_runnable(want)
  return is_runnable(want.kind) and (not want.chain or open_provider(want.chain) ~= nil)
end

-- Whether the wanted types could still run; to whoever named a lowest priority, the best of theirs, plus 1.
local function what_is_left(wants)
  local left = 0
  for _, want in ipairs(wants) do
    if is_wanted_runnable(want) then
      if not lowest_of_claim then
        return 1
      end
      local head = want.slots > 0 and call("ZREVRANGE", want.kind.index, 0, 0, "WITHSCORES")[2]
      left = head and max(left, 1 + priority_of(tonumber(head))) or left
    end
  end
  return left
end

-- Whoever finds no room hears of it: from whoever makes some, or by the clock. Returns the earliest
-- instant at which a claim may find more; "" if none is known.
local function next_opening(wants)
  local at = tonumber(next_due() or math.huge)
  for _, want in ipairs(wants) do
    if want.chain and is_runnable(want.kind) and not open_provider(want.chain) then
      wait_for(want.chain, want.kind.name)
      at = min(at, first_opening(want.chain))
    end
  end
  return at < math.huge and text(at) or ""
end

-- The same request again (its reply was lost) gets the same tasks again.
local function replay(request, stored, next_at, more)
  local reply = { "claimed", now, next_at, more }
  for id in string.gmatch(stored, "\n([^\n]+)") do
    local run = call("HMGET", keys.run .. id, "state", "token", "attempt", "deliveries", "crashes", "provider")
    local record = call("GET", keys.task .. id)
    if record and run[1] == "PROCESSING" and run[2] == run[4] .. "-" .. request then
      add_claimed(reply, #reply + 1, {
        id = id,
        record = record,
        attempt = tonumber(run[3]),
        deliveries = tonumber(run[4]),
        crashes = tonumber(run[5] or 0),
        provider = run[6] and { name = match(run[6], "^[^!]*") },
      })
    end
  end
  return reply
end

-- The arguments of a claim stand at the end of ARGV: worker, request, lease, limit, then each type
-- with its free slots and the providers of its chain; a type without a name stands for the lowest priority.
-- Returns the reply.
local function claim_tasks(at, claims)
  local worker, request = ARGV[at], ARGV[at + 1]
  local lease, limit = tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3])
  local wants = {}
  for index = at + 4, #ARGV, 3 do
    local slots = tonumber(ARGV[index + 1])
    if ARGV[index] == "" then
      lowest_of_claim = slots
    else
      local kind, chain = type_named(ARGV[index]), read_chain(ARGV[index + 2])
      wants[#wants + 1] = { kind = kind, slots = slots, chain = chain, offset = 0 }
      touch_type(kind)
    end
  end
  local stored = call("GET", claims)
  if stored and sub(stored .. "\n", 1, #request + 1) == request .. "\n" then
    local next_at, more = next_opening(wants), what_is_left(wants)
    write_providers()
    return replay(request, stored, next_at, more)
  end
  probe("zset", keys.leased)
  probe("zset", keys.due)
  promote_due(PROMOTE_AT_CLAIM)

  -- Plan
  limit_of_claim, virtual_of_claim = limit, meta.virtual
  if not meta.paused and limit > 0 then
    for _, want in ipairs(wants) do
      want.open = is_runnable(want.kind) and min(want.slots, room_of(want.kind)) or 0
      if want.open > 0 and (not want.chain or open_provider(want.chain)) then
        local first = next_lane(want)
        if first then
          heap_push(first)
        end
      end
    end
    choose_tasks()
    read_taken()
  end

  if #broke > 0 then
    local ends = {}
    for _, task in ipairs(broke) do
      ends[task.id] = task.header
    end
    plan_ends(ends)
  end

  -- Apply
  write_affording()
  if #taken > 0 then
    write_claim(worker, request, claims, lease)
  end
  if #broke > 0 then
    write_tallies()
    write_places()
    write_ends()
  end
  refresh_lanes()
  for _, want in ipairs(wants) do
    set_wake(want.kind, is_wanted_runnable(want))
    touched_types[want.kind] = nil
  end
  wake_touched()
  local more = what_is_left(wants)
  local reply = { "claimed", now, next_opening(wants), more }
  write_providers()
  local at = #reply + 1
  for _, task in ipairs(taken) do
    if task.record then
      add_claimed(reply, at, task)
      at = at + 3
    end
  end
  return reply
end
