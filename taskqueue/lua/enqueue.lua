#!lua
--[[
enqueue: accept up to 1,000 tasks, each with a new place in the order, or refuse them one by one.

KEYS
  meta      hash    settings of the queue
  seq       string  the counter that gives every task its place
  types     set     types ever seen
  tenants   set     tenants that have anything here
  due       zset    tenant -> its earliest delayed task, epoch ms
  task...   string  one key a task, in the order of the tasks
ARGV
  prefix      str   of the queue's keys
  now         int   "" reads the server's clock
  atomic      int   1: one refusal refuses all
  together    int   1: the tasks of a tenant are paid one after the other; 0: each by itself
  max_queued  int   QUEUED tasks a tenant may have; "" for no limit
  bands       int   how many bands follow: lanes and priorities
  width       int   4: tasks as described below; 2: all without due and idem, their ids differ
  rest...     str   each band as type, group, priority; then each task as band (from 1),
                    due ("" now, "+n" in n ms, "n" at epoch ms), idem digest ("" none), record
RETURNS
  {"all", now, sequence}             all accepted; the first got `sequence`, the next ones the next
  {"each", now, then per task four}  word, a, b, c:
      accepted   sequence, created ms, due ms or ""   (also a repeat of the same id)
      taken      id of the holder, 1 if its payload is the same, "id" or "key"
      full       limit, "", ""
      poor       price, balance, ""
      no_slot    limit, "", ""
      withheld   "", "", ""     fine by itself, but another one was refused and `atomic` was asked
  {"exhausted"}                      the counter has reached its end
  {"no_queue"}                       the queue has no settings: open it first
MOVES
  nothing -> QUEUED (ready or delayed)
COST
  O(log n) a task
]]
-- include: base keys meta policy plain
local seq, types, tenants = KEYS[2], KEYS[3], KEYS[4]
local atomic, together, max_queued = ARGV[3] == "1", ARGV[4] == "1", tonumber(ARGV[5])
local band_count, width = tonumber(ARGV[6]), tonumber(ARGV[7])
local first_task_key, first_band, first_task = 6, 8, 8 + band_count * 3
local count = #KEYS - first_task_key + 1

-- Plan -------------------------------------------------------------------------------------------
local sequence = tonumber(call("GET", seq) or 0)
if sequence + count > meta.max_sequence then
  return { "exhausted" }
end

-- Most calls bring ids that are all new: one command says so.
local known = 0
for first = first_task_key, #KEYS, CHUNK do
  known = known + call("EXISTS", unpack(KEYS, first, min(first + CHUNK - 1, #KEYS)))
end

if width == 2 and known == 0 and not (max_queued or policy.virtual or meta.paused) then
  local bands, lanes = plan_plain(band_count, first_band)
  if bands then
    call("INCRBY", seq, count)
    write_plain(bands, lanes, first_task_key, first_task, sequence + 1)
    return { "all", now, sequence + 1 }
  end
end

-- include: lanes counts record places
local bands, new_lanes = {}, {}
for index = 1, band_count do
  local at = first_band + (index - 1) * 3
  local lane = lane_of(ARGV[at], ARGV[at + 1])
  -- By the text with which tasks name it.
  bands[text(index)] = { lane = lane, priority = tonumber(ARGV[at + 2]) }
  touch_lane(lane)
  lane.tenant.room = room_of(lane.tenant)
  lane.tenant.funds = lane.tenant.is_metered and lane.tenant.balance or math.huge
  -- What has counters is known already: types stay, and a tenant goes only when it has none left.
  if probe("hash", lane.kind.count) == 0 or probe("hash", lane.tenant.count) == 0 then
    new_lanes[#new_lanes + 1] = lane
    probe("set", types)
    probe("set", tenants)
  end
  if max_queued and not lane.tenant.queued then
    lane.tenant.queued = tonumber(call("HGET", lane.tenant.count, "queued") or 0)
  end
end

local id_starts = #keys.task + 1
local dues, accepted, others = {}, {}, {}
local by_task_key, by_idem_key = {}, {}

local function due_of(given, lane)
  probe("zset", lane.tenant.delayed)
  call("ZCARD", KEYS[5])
  local due = sub(given, 1, 1) == "+" and now + tonumber(given) or tonumber(given)
  return due > now and due or nil
end

local function fingerprint_of(record)
  return match(record, "^[^|]*|[^|]*|[^|]*|%d+|%d+%-?%d*|%a*|([^|]*)|")
end

-- The refusal of a task whose id or key is taken by a task with the fingerprint `theirs`.
local function taken(holder, theirs, record, what)
  return { "taken", holder, theirs == fingerprint_of(record) and 1 or 0, what }
end

-- The refusal of the task whose arguments begin at `at`, or what an earlier call answered to the
-- same id; nil accepts it.
local function refusal(key, at, lane)
  local tenant, record = lane.tenant, ARGV[at + width - 1]
  local digest = width == 4 and ARGV[at + 2] or ""
  if known > 0 and call("EXISTS", key) == 1 then
    local id = sub(key, id_starts)
    local stored = read_header(id)
    if stored and stored.fingerprint == fingerprint_of(record) then
      local instant = call("ZSCORE", stored.lane.tenant.delayed, id)
      return { "accepted", stored.sequence, stored.created, instant or "" }
    end
    return { "taken", id, 0, "id" }
  end
  local twin = by_task_key[key]
  if twin then
    return taken(sub(key, id_starts), fingerprint_of(ARGV[twin + width - 1]), record, "id")
  end
  -- A reserved task starts at once, or is refused for lack of a slot: no full queue keeps it out.
  if max_queued and not lane.reserved and tenant.queued >= max_queued then
    return { "full", max_queued, "", "" }
  end
  local idem = digest ~= "" and keys.idem .. tenant.name .. ":" .. digest
  if idem then
    local holder = call("GET", idem)
    twin = by_idem_key[idem]
    if holder then
      local stored = read_header(holder)
      return taken(holder, stored and stored.fingerprint, record, "key")
    elseif twin then
      return taken(twin.id, fingerprint_of(ARGV[twin.at + width - 1]), record, "key")
    end
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
  by_task_key[key] = at
  if idem then
    by_idem_key[idem] = { at = at, id = sub(key, id_starts) }
  end
  return nil
end

for index = 1, count do
  local at = first_task + (index - 1) * width
  local lane = bands[ARGV[at]].lane
  if width == 4 and ARGV[at + 1] ~= "" then
    dues[index] = due_of(ARGV[at + 1], lane)
  end
  local answer = refusal(KEYS[first_task_key + index - 1], at, lane)
  if answer then
    others[index] = answer
    others.refused = others.refused or answer[1] ~= "accepted"
  else
    accepted[#accepted + 1] = index
  end
end
if atomic and others.refused then
  for _, index in ipairs(accepted) do
    others[index] = { "withheld", "", "", "" }
  end
  accepted = {}
end

-- Apply ------------------------------------------------------------------------------------------
local first_sequence = 0
if #accepted > 0 then
  first_sequence = call("INCRBY", seq, #accepted) - #accepted + 1
  local records, created = {}, "|" .. text(now) .. "|"
  for number, index in ipairs(accepted) do
    local at = first_task + (index - 1) * width
    local key, band = KEYS[first_task_key + index - 1], bands[ARGV[at]]
    local lane, priority = band.lane, band.priority
    local id, place_in_order = sub(key, id_starts), first_sequence + number - 1
    records[number * 2 - 1] = key
    records[number * 2] = "1|" .. text(place_in_order) .. created .. ARGV[at + width - 1]
    if width == 4 and ARGV[at + 2] ~= "" then
      call("SET", keys.idem .. lane.tenant.name .. ":" .. ARGV[at + 2], id, "NX")
    end
    place(id, lane, priority, place_in_order, dues[index])
    count_queued(lane, priority, 1)
    if lane.reserved then
      count_held(lane, 1)
    end
  end
  for first = 1, #records, CHUNK do
    call("MSET", unpack(records, first, min(first + CHUNK - 1, #records)))
  end
  for _, lane in ipairs(new_lanes) do
    call("SADD", types, lane.type)
    call("SADD", tenants, lane.tenant.name)
  end
  write_tallies()
  write_places()
  refresh_lanes()
  wake_touched()
end

if #accepted == count then
  return { "all", now, first_sequence }
end
local reply, following = { "each", now }, first_sequence
for index = 1, count do
  local answer = others[index]
  if not answer then
    answer = { "accepted", following, now, dues[index] or "" }
    following = following + 1
  end
  for part = 1, 4 do
    reply[#reply + 1] = answer[part]
  end
end
return reply
