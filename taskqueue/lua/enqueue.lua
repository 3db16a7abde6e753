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
  max_queued  int   QUEUED tasks a tenant may have; "" for no limit
  lanes       int   how many lanes follow
  rest...     str   each lane as type, group; then each task as lane (from 1), priority,
                    due ("" now, "+n" in n ms, "n" at epoch ms), idem digest ("" none), record
RETURNS
  {"all", now, sequence}             all accepted; the first got `sequence`, the next ones the next
  {"each", now, then per task four}  word, a, b, c:
      accepted   sequence, created ms, due ms or ""   (also a repeat of the same id)
      taken      id of the holder, 1 if its payload is the same, "id" or "key"
      full       limit, "", ""
      no_slot    limit, "", ""
      withheld   "", "", ""     fine by itself, but another one was refused and `atomic` was asked
  {"exhausted"}                      the counter has reached its end
  {"no_queue"}                       the queue has no settings: open it first
MOVES
  nothing -> QUEUED (ready or delayed)
COST
  O(log n) a task
]]
-- include: base keys meta policy lanes counts record places
local seq, types, tenants = KEYS[2], KEYS[3], KEYS[4]
local atomic, max_queued, lane_count = ARGV[3] == "1", tonumber(ARGV[4]), tonumber(ARGV[5])
local first_task_key, first_lane, first_task = 6, 6, 6 + lane_count * 2
local count = #KEYS - first_task_key + 1

-- Plan -------------------------------------------------------------------------------------------
local sequence = tonumber(call("GET", seq) or 0)
if sequence + count > meta.max_sequence then
  return { "exhausted" }
end
call("SCARD", types)
call("SCARD", tenants)

local lanes = {}
for index = 1, lane_count do
  local at = first_lane + (index - 1) * 2
  local lane = lane_of(ARGV[at], ARGV[at + 1])
  lanes[index] = lane
  touch_lane(lane)
  if max_queued and not lane.tenant.queued then
    lane.tenant.queued = tonumber(call("HGET", lane.tenant.count, "queued") or 0)
  end
end

-- Most calls bring ids that are all new: one command says so.
local known = 0
for first = first_task_key, #KEYS, CHUNK do
  known = known + call("EXISTS", unpack(KEYS, first, min(first + CHUNK - 1, #KEYS)))
end

local id_starts = #keys.task("") + 1
local tasks, accepted, refused = {}, {}, 0
local ids_here, keys_here = {}, {}

local function same_payload(stored, record)
  local theirs = stored and stored.fingerprint
  local ours = match(record, "^[^|]*|[^|]*|[^|]*|%d+|%d+|%a*|([^|]*)|")
  return theirs == ours
end

-- Decides about one task; returns its word and what goes with it.
local function decide(task)
  local stored = nil
  if known > 0 and call("EXISTS", task.key) == 1 then
    stored = read_header(task.id)
    if not stored then
      return "taken", task.id, 0, "id"
    end
    if same_payload(stored, task.record) then
      local due = call("ZSCORE", stored.lane.tenant.delayed, task.id)
      return "accepted", stored.sequence, stored.created, due or ""
    end
    return "taken", task.id, 0, "id"
  end
  local twin = ids_here[task.id]
  if twin then
    return "taken", task.id, same_payload(parse_header("1|1|1|" .. twin.record), task.record) and 1 or 0, "id"
  end
  local lane, tenant = task.lane, task.lane.tenant
  local key = task.idem ~= "" and keys.idem(tenant.name, task.idem)
  if key then
    local holder = call("GET", key)
    twin = keys_here[key]
    if holder then
      return "taken", holder, same_payload(read_header(holder), task.record) and 1 or 0, "key"
    elseif twin then
      return "taken", twin.id, same_payload(parse_header("1|1|1|" .. twin.record), task.record) and 1 or 0, "key"
    end
  end
  if max_queued and tenant.queued >= max_queued then
    return "full", max_queued, "", ""
  elseif lane.reserved and tenant.room <= 0 then
    return "no_slot", tenant.most, "", ""
  end
  -- Nothing refuses it any more: it counts for the tasks that follow.
  tenant.queued = (tenant.queued or 0) + 1
  tenant.room = tenant.room - (lane.reserved and 1 or 0)
  ids_here[task.id] = task
  if key then
    keys_here[key] = task
  end
  task.is_new = true
  return "accepted", "", "", ""
end

for index = 1, count do
  local at = first_task + (index - 1) * 5
  local due = ARGV[at + 2]
  if due == "" then
    due = nil
  elseif sub(due, 1, 1) == "+" then
    due = now + tonumber(due)
  else
    due = tonumber(due)
  end
  local key = KEYS[first_task_key + index - 1]
  local task = {
    key = key,
    id = sub(key, id_starts),
    lane = lanes[tonumber(ARGV[at])],
    priority = tonumber(ARGV[at + 1]),
    due = due and due > now and due or nil,
    idem = ARGV[at + 3],
    record = ARGV[at + 4],
  }
  if task.due then
    probe("zset", task.lane.tenant.delayed)
    call("ZCARD", keys.due)
  end
  task.word, task.a, task.b, task.c = decide(task)
  tasks[index] = task
  if task.is_new then
    accepted[#accepted + 1] = task
  elseif task.word ~= "accepted" then
    refused = refused + 1
  end
end
if atomic and refused > 0 then
  for _, task in ipairs(accepted) do
    task.word = "withheld"
  end
  accepted = {}
end

-- Apply ------------------------------------------------------------------------------------------
if #accepted > 0 then
  sequence = call("INCRBY", seq, #accepted) - #accepted
  local records, created = {}, text(now)
  for _, task in ipairs(accepted) do
    sequence = sequence + 1
    local lane = task.lane
    task.a, task.b, task.c = sequence, now, task.due or ""
    records[#records + 1] = task.key
    records[#records + 1] = "1|" .. text(sequence) .. "|" .. created .. "|" .. task.record
    if task.idem ~= "" then
      call("SET", keys.idem(lane.tenant.name, task.idem), task.id, "NX")
    end
    place(task.id, lane, task.priority, sequence, task.due)
    count_queued(lane, task.priority, 1)
    if lane.reserved then
      count_held(lane, 1)
    end
  end
  for first = 1, #records, CHUNK do
    call("MSET", unpack(records, first, min(first + CHUNK - 1, #records)))
  end
  for _, lane in ipairs(lanes) do
    call("SADD", types, lane.type)
    call("SADD", tenants, lane.tenant.name)
  end
  write_tallies()
  write_places()
  refresh_lanes()
  wake_touched()
end

if #accepted == count then
  return { "all", now, accepted[1] and accepted[1].a or 0 }
end
local reply = { "each", now }
for _, task in ipairs(tasks) do
  reply[#reply + 1] = task.word
  reply[#reply + 1] = task.a
  reply[#reply + 1] = task.b
  reply[#reply + 1] = task.c
end
return reply
