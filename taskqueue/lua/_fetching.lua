-- Reads what was chosen: the records, which must fit into one reply, and what runs there were before.
local REPLY_BYTES = 4194304
local RECORDS_A_LOOK = 16

-- Gives back what does not fit into one reply: always the tail of its lane.
local function untake_from(first)
  for index = #taken, first, -1 do
    local entry = taken[index].entry
    entry.taken = entry.taken - 1
    entry.tasks, entry.size = {}, 0
    if taken[index].hold then
      -- Its tenant may wait for just this hold, which no end would ever give back: the next claim looks.
      local tenant = entry.lane.tenant
      tenant.waits, waiting[tenant] = false, nil
    end
    if taken[index].provider then
      taken[index].provider.left = taken[index].provider.left + 1
    end
    if policy.virtual then
      entry.lane.tenant.virtual = entry.lane.tenant.virtual - service_cost(entry.lane.tenant)
    end
    taken[index] = nil
  end
end

-- What most tasks have not had: a run. One command says so of all.
local function read_runs(count)
  local names = {}
  for index = 1, count do
    names[index] = taken[index].run
  end
  local known = 0
  for first = 1, count, CHUNK do
    known = known + call("EXISTS", unpack(names, first, min(first + CHUNK - 1, count)))
  end
  if known == 0 then
    return
  end
  for index = 1, count do
    local task = taken[index]
    local run = call("HMGET", task.run, "attempt", "deliveries", "crashes")
    if run[2] then
      task.attempt = tonumber(run[1] or 0) + 1
      task.deliveries = tonumber(run[2]) + 1
      task.crashes = tonumber(run[3] or 0)
    end
  end
end

local function read_taken()
  local bytes, names = 0, {}
  for index, task in ipairs(taken) do
    names[index] = keys.task .. task.id
  end
  for first = 1, #names, RECORDS_A_LOOK do
    local last = min(first + RECORDS_A_LOOK - 1, #names)
    local records = call("MGET", unpack(names, first, last))
    for index = first, last do
      -- MGET takes a key of another kind for one that is not there; GET fails, and the task stays where it is.
      local record = records[index - first + 1] or call("GET", names[index])
      taken[index].record = record
      bytes = bytes + #(record or "")
      if bytes > REPLY_BYTES and index > 1 then
        untake_from(index)
        read_runs(#taken)
        return
      end
    end
  end
  read_runs(#taken)
end
