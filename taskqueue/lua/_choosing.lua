-- Chooses the best tasks over all lanes of the wanted types, in exact order, up to what was asked.
-- Lanes are merged by a heap. A lane is opened (its first tasks read) only when its rank in the
-- index comes to the top, and read in windows that grow; nothing that is parked or whose type has
-- no room is looked at. So a claim costs O(types + log lanes) and O(log n) a task.
local INDEX_WINDOW = 32

local taken, opened = {}, {}
local limit_of_claim, virtual_of_claim, lowest_of_claim

-- The next lane of a type's index, unopened: an entry with a rank and no tasks. Nil if there is none.
local function next_lane(want)
  if not want.entries or (want.at > #want.entries and #want.entries == INDEX_WINDOW * 2) then
    local from = want.offset
    want.entries = call("ZREVRANGE", want.kind.index, from, from + INDEX_WINDOW - 1, "WITHSCORES")
    want.offset = from + INDEX_WINDOW
    want.at = 1
  end
  local group = want.entries[want.at]
  if not group then
    return nil
  end
  local rank = tonumber(want.entries[want.at + 1])
  want.at = want.at + 2
  -- Every field is named here: a table that grows later is built again and again.
  return {
    want = want, group = group, rank = rank, indexed = rank, head = math.huge, priority = 0,
    lane = false, tasks = false, at = 1, read = 0, window = 0, size = 0, taken = 0, is_closed = false,
  }
end

local function read_window(entry)
  local from = entry.read
  local size = min(entry.window, limit_of_claim - #taken)
  entry.size = size * 2
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
  local lane = lane_of(entry.want.kind.name, entry.group)
  touch_lane(lane)
  local tenant = lane.tenant
  tenant.room = tenant.room or room_of(tenant)
  if policy.virtual then
    tenant.virtual = tenant.virtual or virtual_time(tenant)
  else
    tenant.virtual = 0
  end
  entry.lane, entry.tasks = lane, {}
  -- Alone, it will be read in one go; among many, a little at a time.
  entry.window = max(2, math.ceil((limit_of_claim - #taken) / (#heap + 1)))
  opened[#opened + 1] = entry
  local has_tasks = rank_entry(entry)
  -- An index that does not tell the truth is mended.
  lane.is_changed = lane.is_changed or not has_tasks or entry.rank ~= entry.indexed
  return has_tasks
end

local function service_cost(tenant)
  return max(1, floor(WEIGHT_UNIT / tenant.weight))
end

-- Every field is named here: a table that grows later is built again. What few tasks have they find in USUAL.
local USUAL = { __index = { attempt = 1, deliveries = 1, crashes = 0, hold = false, provider = false } }
local function take(entry, id, priority)
  local count = #taken + 1
  local task = setmetatable({ id = id, entry = entry, priority = priority, run = keys.run .. id, record = false }, USUAL)
  taken[count] = task
  return task
end

local function take_head(entry, hold)
  local tenant = entry.lane.tenant
  local task = take(entry, entry.tasks[entry.at], entry.priority)
  if entry.want.chain then
    local provider = open_provider(entry.want.chain)
    task.provider = provider
    provider.left = provider.left - 1
  end
  entry.taken = entry.taken + 1
  entry.at = entry.at + 2
  entry.want.open = entry.want.open - 1
  if not entry.lane.reserved then
    tenant.room = tenant.room - 1
  end
  if hold then
    task.hold = hold
    tenant.held = tenant.held + hold
  end
  if policy.virtual then
    virtual_of_claim = max(virtual_of_claim, tenant.virtual)
    tenant.virtual = tenant.virtual + service_cost(tenant)
  end
end

-- Takes what is read of a lane for as long as no other lane can come between: as `take_head` would, where
-- neither credits nor providers nor virtual time have a say. At least one: its head is the best there is.
local function take_run(entry)
  local want, tasks, at, tenant = entry.want, entry.tasks, entry.at, entry.lane.tenant
  local most = min(limit_of_claim - #taken, want.open, entry.lane.reserved and math.huge or tenant.room)
  local rival = heap[1] and heap[1].rank or -math.huge
  local priority, count = entry.priority, 0
  repeat
    take(entry, tasks[at], priority)
    count, at = count + 1, at + 2
    local head = tonumber(tasks[at + 1])
    if not head then
      break
    end
    priority = priority_of(head)
  until count >= most or policy.rank(head, priority, 0) <= rival
  entry.at, entry.taken, want.open = at, entry.taken + count, want.open - count
  if not entry.lane.reserved then
    tenant.room = tenant.room - count
  end
end

-- Takes from the best of all lanes, which is off the heap; it goes back if it has more.
local function serve(entry)
  local tenant = entry.lane.tenant
  if tenant.room <= 0 and not entry.lane.reserved then
    return
  end
  local is_metered = tenant.is_metered
  local hold = is_metered and hold_of(entry)
  if not (is_metered or entry.want.chain or policy.virtual or lowest_of_claim) then
    take_run(entry)
  elseif hold or not is_metered then
    take_head(entry, hold)
  end
  if not entry.is_closed and rank_entry(entry) then
    heap_push(entry)
  end
end

-- Every turn opens, drops, re-ranks or takes; each of these happens a bounded number of times. The best lane
-- leaves the heap, and the next one of its type takes its place: that is mostly the next best, and what
-- was served has a place near the end.
local function choose_tasks()
  while #taken < limit_of_claim do
    local entry = heap[1]
    -- Whoever names a lowest priority has a strict queue, whose lanes rank by their heads.
    if not entry or (lowest_of_claim and priority_of(entry.rank) < lowest_of_claim) then
      return
    end
    local want, rank = entry.want, entry.rank
    local may_run = want.open > 0 and (not want.chain or open_provider(want.chain) ~= nil)
    local is_new = not entry.tasks
    local following = is_new and may_run and next_lane(want)
    if following then
      heap_replace(following)
    else
      heap_pop()
    end
    if may_run and (not is_new or open_lane(entry)) then
      -- Its tenant may have been served through another lane meanwhile.
      local has_moved = is_new or (policy.virtual and rank_entry(entry) and entry.rank ~= rank)
      if has_moved and heap[1] and runs_before(heap[1], entry) then
        heap_push(entry)
      else
        serve(entry)
      end
    end
  end
end
