-- Which tasks of a metered tenant a claim may start, and the end of those that it cannot pay.
local BROKE_AT_ONCE = 50
-- msgpack of the error that a task ends with which the whole balance does not cover. A test compares
-- it with what taskqueue/codec.py makes.
local BROKE_ERROR = "\131\164code\180INSUFFICIENT_CREDITS\167details\192\167message\217\061"
  .. "the balance of its tenant did not cover its price at its turn"

-- Tasks that a claim ends instead of starting them, and tenants that have to wait.
local broke, waiting = {}, {}

-- Plan half of a claim, for the first task of an opened lane: what it will hold; nil if it cannot
-- start. A task that the balance does not cover is put aside to be ended, some at a time; one that
-- others keep from its credits waits for them.
local function hold_of(entry)
  local tenant, id = entry.lane.tenant, entry.tasks[entry.at]
  if tenant.waits then
    entry.is_closed = true
    return nil
  end
  local header = read_header(id)
  if not header or header.cost <= tenant.balance - tenant.held then
    return header and min(header.hold, tenant.balance - tenant.held) or 0
  end
  if header.cost > tenant.balance and #broke < BROKE_AT_ONCE then
    probe("hash", keys.run .. id)
    probe("zset", tenant.finished)
    entry.at = entry.at + 2
    broke[#broke + 1] = { id = id, header = header }
  else
    entry.is_closed = true
    tenant.waits = header.cost <= tenant.balance
    waiting[tenant] = tenant.waits or nil
  end
  return nil
end

-- Apply half of a claim.
local function write_affording()
  for tenant in pairs(waiting) do
    call("HSET", tenant.limit, "waits", "1")
  end
  for _, task in ipairs(broke) do
    local header, run = task.header, keys.run .. task.id
    call("ZREM", header.lane.ready, task.id)
    count_queued(header.lane, header.priority, -1)
    call("HSET", run, "state", "FAILED", "outcome", "failed", "finished_at", now, "error", BROKE_ERROR)
    end_task(task.id, run, header, true)
  end
end
