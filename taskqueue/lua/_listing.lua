-- Walks the places of one tenant's tasks, in the direction of a task's life: delayed, ready, leased,
-- finished. A page ends where it is full or enough was looked at, at a position that the next one begins
-- behind. Positions are values, not counts: what comes and goes meanwhile moves none of the others.
local AT_ONCE = 100
-- The fields of a run that are never long.
local SHORT = { "state", "attempt", "deliveries", "crashes", "worker", "started_at", "finished_at", "charged",
  "delivered_at", "provider", "tried" }

-- What is asked for, and what was found; list.lua fills them in.
local wanted, page = {}, {}

-- As the server orders members of one score: by bytes. Lua's own < follows the server's locale.
local function is_before(a, b)
  for at = 1, min(#a, #b) do
    local ours, theirs = string.byte(a, at), string.byte(b, at)
    if ours ~= theirs then
      return ours < theirs
    end
  end
  return #a < #b
end

-- How many members of a set stand before a place; with `through`, also the one that stands at it.
-- Thousands may share a score, such as the instant that a batch is due: those are halved, not walked.
local function rank_of_place(key, score, id, through)
  local low, high = call("ZCOUNT", key, "-inf", "(" .. score), call("ZCOUNT", key, "-inf", score)
  while low < high do
    local middle = floor((low + high) / 2)
    local member = call("ZRANGE", key, middle, middle)[1]
    if is_before(member, id) or (through and member == id) then
      low = middle + 1
    else
      high = middle
    end
  end
  return low
end

-- The record up to its payload, in whose place stands an empty one.
local function head_of(id)
  local head = call("GETRANGE", keys.task .. id, 0, HEADER - 1)
  local _, stop, more = find(head, "^[^\n]*|(%d+)\n")
  stop = stop + tonumber(more)
  if stop > #head then
    head = call("GETRANGE", keys.task .. id, 0, stop - 1)
  end
  return sub(head, 1, stop) .. "\128"
end

-- Deliveries of webhooks belong to a tenant of their own, and reserved tasks to whoever waits for them.
local function is_wanted(id, state)
  local header = read_header(id)
  if not header or header.lane.reserved or header.lane.tenant.name ~= wanted.tenant then
    return false
  end
  state = state or call("HGET", keys.run .. id, "state")
  local is_of_type = wanted.type == "" or wanted.type == header.type
  return is_of_type and state and (wanted.states == "" or find(wanted.states, state, 1, true) ~= nil)
end

local function add(id)
  local values, run = call("HMGET", keys.run .. id, unpack(SHORT)), {}
  for at, name in ipairs(SHORT) do
    if values[at] then
      run[#run + 1] = name
      run[#run + 1] = values[at]
    end
  end
  local due = page.section == "delayed" and page.due or ""
  page.tasks[#page.tasks + 1] = { id, { "task", head_of(id), due, run } }
end

-- Returns false when the page ends before this task.
local function look_at(id, score, state)
  if page.looked >= wanted.most then
    return false
  end
  page.looked = page.looked + 1
  if is_wanted(id, state) then
    if #page.tasks >= wanted.limit then
      return false
    end
    page.due = score
    add(id)
  end
  page.place, page.id = text(tonumber(score)), id
  return true
end

-- Walkers return whether they came to the end of their section. ---------------------------------

local function walk_set(key, upwards, state)
  local start = 0
  if page.id ~= "" then
    start = rank_of_place(key, page.place, page.id, upwards)
    start = upwards and start or call("ZCARD", key) - start
  end
  while true do
    local found = call(upwards and "ZRANGE" or "ZREVRANGE", key, start, start + AT_ONCE - 1, "WITHSCORES")
    for at = 1, #found, 2 do
      if not look_at(found[at], found[at + 1], state) then
        return false
      end
    end
    if #found < AT_ONCE * 2 then
      return true
    end
    start = start + AT_ONCE
  end
end

-- All lanes of the tenant as one, in the order of the queue; no two tasks have one score.
local function walk_lanes(types)
  local some = wanted.limit - #page.tasks + 1
  local is_whole
  repeat
    local found = {}
    local below = page.id == "" and "+inf" or "(" .. page.place
    is_whole = true
    for _, type in ipairs(types) do
      local lane = keys.ready .. type .. ":" .. wanted.tenant
      local heads = call("ZREVRANGEBYSCORE", lane, below, "-inf", "WITHSCORES", "LIMIT", 0, some)
      is_whole = is_whole and #heads < some * 2
      for at = 1, #heads, 2 do
        found[#found + 1] = { id = heads[at], score = heads[at + 1], order = tonumber(heads[at + 1]) }
      end
    end
    table.sort(found, function(a, b)
      return a.order > b.order
    end)
    -- Behind the first `some`, a lane that was cut may have tasks that were not read.
    for at = 1, is_whole and #found or some do
      if not look_at(found[at].id, found[at].score, "QUEUED") then
        return false
      end
    end
  until is_whole
  return true
end

-- Scores of leases move with every heartbeat, so no value is a position there; the cursor of a scan is:
-- what stays leased is met. Leases of all tenants are passed, as nothing tells whose they are but records.
local function walk_leased(key, types)
  local is_any = false
  for _, type in ipairs(types) do
    is_any = is_any or call("HEXISTS", keys.count_tenant .. wanted.tenant, "processing:" .. type) == 1
  end
  local cursor = page.place == "" and "0" or page.place
  while is_any do
    local step = call("ZSCAN", key, cursor, "COUNT", 1)
    local following, found, own = step[1], step[2], {}
    for at = 1, #found, 2 do
      if (page.id == "" or is_before(page.id, found[at])) and is_wanted(found[at], "PROCESSING") then
        own[#own + 1] = found[at]
      end
    end
    page.looked = page.looked + max(1, #found / 2)
    table.sort(own, is_before)
    local room = wanted.limit - #page.tasks
    -- A step is divided, by ids, only if it has more than a whole page, or is everything: in a table that
    -- has shrunk meanwhile the same cursor begins a longer step, with ids that none was compared with.
    if #own > room and #page.tasks > 0 and not (cursor == "0" and following == "0") then
      page.place = cursor
      return false
    end
    for at = 1, min(room, #own) do
      add(own[at])
    end
    if #own > room then
      page.place, page.id = cursor, own[room] or page.id
      return false
    end
    cursor, page.place, page.id = following, following, ""
    if cursor == "0" then
      return true
    elseif page.looked >= wanted.most or #page.tasks >= wanted.limit then
      return false
    end
  end
  return true
end
