-- The end of a task: one instant at which everything of it goes, its place in the finished index,
-- and a word to those who wait for it.
local KEEP_FINISHED = 3600000
-- A task with a webhook leaves a task of this type behind, in a lane of its own for each tenant and
-- host, under a name that no tenant can have: it counts nowhere else.
local WEBHOOK = "_webhook"
local INBOX_TTL = 60000
local TOLD_AT_MOST = 100
local finished_tenants = {}

-- Plan half of the delivery of a task's end.
local function plan_delivery(header, sequence)
  header.hook_lane = lane_of(WEBHOOK, "_" .. header.lane.tenant.name .. "." .. header.hook)
  plan_place(header.hook_lane)
  probe("string", keys.task .. "_hook-" .. text(sequence))
  probe("set", keys.types)
  probe("set", keys.tenants)
end

-- Plan half, for all tasks of a call at once: `ends` maps a task's id to its header. Fills
-- header.waiting with the inboxes to tell (mostly there are none, and one command tells), and
-- header.idem_key with the idempotency key if the task holds it: it may be another task's by now.
local function plan_ends(ends)
  local rooms, sequence = {}, nil
  for id, header in pairs(ends) do
    rooms[#rooms + 1] = keys.waiters .. id
    if header.hook ~= "" then
      sequence = (sequence or tonumber(call("GET", keys.seq))) + 1
      plan_delivery(header, sequence)
    end
    if header.idem ~= "" then
      local key = keys.idem .. header.lane.tenant.name .. ":" .. header.idem
      header.idem_key = call("GET", key) == id and key or nil
    end
  end
  local waiting = 0
  for first = 1, #rooms, CHUNK do
    waiting = waiting + call("EXISTS", unpack(rooms, first, min(first + CHUNK - 1, #rooms)))
  end
  if waiting > 0 then
    for id, header in pairs(ends) do
      header.waiting = call("SRANDMEMBER", keys.waiters .. id, TOLD_AT_MOST)
      for _, owner in ipairs(header.waiting) do
        probe("list", keys.inbox .. owner)
      end
    end
  end
  probe("zset", keys.dead)
end

local function tell_waiters(id, header)
  if header.waiting and header.waiting[1] then
    for _, owner in ipairs(header.waiting) do
      local inbox = keys.inbox .. owner
      call("RPUSH", inbox, "finished " .. id)
      call("PEXPIRE", inbox, INBOX_TTL)
    end
    call("DEL", keys.waiters .. id)
  end
end

-- Apply half. Its payload is the msgpack of {"task": id}. How often it is tried, its handler says.
local function make_delivery(id, header)
  local lane, sequence = header.hook_lane, call("INCRBY", keys.seq, 1)
  local name = "_hook-" .. text(sequence)
  local front = "1|" .. text(sequence) .. "|" .. text(now) .. "|" .. WEBHOOK .. "|" .. lane.group
  local payload = "\129\164task\217" .. string.char(#id) .. id
  call("SET", keys.task .. name, front .. "||1|0|||||30000||0\n" .. payload)
  call("SADD", keys.types, WEBHOOK)
  call("SADD", keys.tenants, lane.group)
  place(name, lane, 1, sequence)
  count_queued(lane, 1, 1)
end

-- Apply half. The run hash has been written already.
local function end_task(id, run, header, is_failure)
  local lane = header.lane
  local expires = max(header.created + meta.retention, now + min(KEEP_FINISHED, meta.retention))
  if lane.type == WEBHOOK then
    expires = now + min(KEEP_FINISHED, meta.retention)
  end
  call("PEXPIREAT", keys.task .. id, expires)
  call("PEXPIREAT", run, expires)
  if header.idem_key then
    call("PEXPIREAT", header.idem_key, expires)
  end
  add_to(lane.tenant.finished, expires, id)
  if is_failure then
    add_to(keys.dead, expires, id)
  end
  if lane.reserved then
    count_held(lane, -1)
  end
  tell_waiters(id, header)
  if header.hook_lane then
    make_delivery(id, header)
  end
  finished_tenants[lane.tenant] = true
end

-- The indexes go by themselves with the last record that they can name.
local function write_ends()
  local longest = max(meta.retention, KEEP_FINISHED)
  for tenant in pairs(finished_tenants) do
    call("PEXPIRE", tenant.finished, longest)
  end
  if next(finished_tenants) then
    call("PEXPIRE", keys.dead, longest)
    finished_tenants = {}
  end
end
