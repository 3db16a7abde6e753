-- The end of a task: one instant at which everything of it goes, its place in the finished index,
-- and a word to those who wait for it.
local KEEP_FINISHED = 3600000
local INBOX_TTL = 60000
local TOLD_AT_MOST = 100
local finished_tenants = {}

-- Plan half, for all tasks of a call at once: `ends` maps a task's id to its header. Fills
-- header.waiting with the inboxes to tell (mostly there are none, and one command tells), and
-- header.idem_key with the idempotency key if the task holds it: it may be another task's by now.
local function plan_ends(ends)
  local rooms = {}
  for id, header in pairs(ends) do
    rooms[#rooms + 1] = keys.waiters .. id
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

-- Apply half. The run hash has been written already.
local function end_task(id, run, header, is_failure)
  local lane = header.lane
  local expires = max(header.created + meta.retention, now + min(KEEP_FINISHED, meta.retention))
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
