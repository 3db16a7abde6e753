#!lua
--[[
enqueue: accept up to 1,000 tasks, each with a new place in the order, or refuse them one by one.

KEYS
  meta      hash    settings of the queue
  seq       string  the counter that gives every task its place
  types     set     types ever seen
  tenants   set     tenants that have anything here
  due       zset    tenant -> its earliest delayed task, epoch ms
  task...   string  one key a task, in the order of the tasks; then the hash of each rate (see admit)
ARGV
  prefix      str   of the queue's keys
  now         int   "" reads the server's clock
  atomic      int   1: one refusal refuses all
  together    int   1: the tasks of a tenant are paid one after the other; 0: each by itself
  max_queued  int   QUEUED tasks a tenant may have; "" for no limit
  bands       int   how many bands follow: lanes and priorities
  width       int   5: tasks as described below; 4: without rate; 2: also without due and idem, and
                    their ids differ
  rates       int   how many rates follow the bands
  whole       int   "" each task is a request of its own; else how many tasks the one request has of
                    which this call brings the first: it is counted once, by the only rate, and
                    needs room for all of them, or nothing of it is stored
  rest...     str   each band as type, group, priority; each rate as endpoint, limit; then each task
                    as band (from 1), due ("" now, "+n" in n ms, "n" at epoch ms), idem digest
                    ("" none), rate (from 1; 0 none), record
RETURNS
  Behind each of the first three, for each rate, how many requests passed and how many more could.
  {"all", now, sequence}             all accepted; the first got `sequence`, the next ones the next
  {"refused", word, limit}           the `whole` request is refused: "limited" or "full", as below
  {"each", now, then per task four}  word, a, b, c:
      accepted   sequence, created ms, due ms or ""   (also a repeat of the same id, which is not counted)
      limited    limit, "", ""       its rate is used up
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
local rate_count, whole = tonumber(ARGV[8]), tonumber(ARGV[9])
local first_task_key, last_task_key, first_band = 6, #KEYS - rate_count, 10
local first_rate = first_band + band_count * 3
local first_task = first_rate + rate_count * 2
local count = last_task_key - first_task_key + 1

-- Plan -------------------------------------------------------------------------------------------
local sequence = tonumber(call("GET", seq) or 0)
if sequence + count > meta.max_sequence then
  return { "exhausted" }
end

-- Most calls bring ids that are all new: one command says so.
local known = 0
for first = first_task_key, last_task_key, CHUNK do
  known = known + call("EXISTS", unpack(KEYS, first, min(first + CHUNK - 1, last_task_key)))
end

if width == 2 and known == 0 and rate_count == 0 and not (max_queued or policy.virtual or meta.paused) then
  local bands, lanes, awake, queued = plan_plain(band_count, first_band)
  if bands then
    call("INCRBY", seq, count)
    write_plain_records(bands, first_task_key, first_task, sequence + 1)
    write_plain_lanes(bands, lanes, awake, queued)
    return { "all", now, sequence + 1 }
  end
end

-- include: lanes counts record places admitting
local bands, new_lanes = {}, {}
for index = 1, band_count do
  local at = first_band + (index - 1) * 3
  local lane = lane_of(ARGV[at], ARGV[at + 1])
  -- By the text with which tasks name it.
  bands[text(index)] = { lane = lane, priority = tonumber(ARGV[at + 2]) }
  plan_place(lane)
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
local rates, dues, accepted, others = {}, {}, {}, {}
for number = 1, rate_count do
  local at = first_rate + (number - 1) * 2
  rates[number] = rate_of(KEYS[last_task_key + number], ARGV[at], tonumber(ARGV[at + 1]))
end

-- include: refusing
local function due_of(given, lane)
  probe("zset", lane.tenant.delayed)
  call("ZCARD", KEYS[5])
  local due = sub(given, 1, 1) == "+" and now + tonumber(given) or tonumber(given)
  return due > now and due or nil
end

if whole then
  local word, limit = refusal_of_whole()
  if word then
    write_rates()
    return add_rates({ "refused", word, limit }, rates)
  end
end
for index = 1, count do
  local at = first_task + (index - 1) * width
  local lane = bands[ARGV[at]].lane
  if width > 2 and ARGV[at + 1] ~= "" then
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
write_rates()
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
    if width > 2 and ARGV[at + 2] ~= "" then
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
  return add_rates({ "all", now, first_sequence }, rates)
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
return add_rates(reply, rates)
