#!lua flags=allow-oom
--[[
clear: remove QUEUED tasks of one lane, or the delayed ones of one tenant, with their records. Only
tasks accepted up to a cut-off go, so that a clear ends however fast new ones come in.

KEYS
  meta     hash    settings of the queue
  source   zset    the ready set of the lane, or the delayed tasks of the tenant
  answer   string  what this very call answered, if it was made before
ARGV
  prefix   str   of the queue's keys
  now      int   "" reads the server's clock
  cutoff   int   the last sequence that goes
  type     str   only tasks of this type; "" for all
  cursor   str   where the last step ended: a score for a lane, a count for delayed tasks; "" at first
  delayed  int   1: source holds delayed tasks
  limit    int   how many are looked at
RETURNS
  {"cleared", count, cursor}   cursor "": the walk is complete
  {"no_queue"}
MOVES
  QUEUED -> nothing
COST
  O(log n) a task
]]
-- include: base keys meta policy lanes counts record places removing ending answers
local source, answer, cutoff, only_type, cursor = KEYS[2], KEYS[3], tonumber(ARGV[3]), ARGV[4], ARGV[5]
local is_delayed, limit = ARGV[6] == "1", tonumber(ARGV[7])

-- Plan
local answered = call("GET", answer)
if answered then
  local count, following = match(answered, "^(%d+) (.*)$")
  return { "cleared", tonumber(count), following }
end
local found
if is_delayed then
  local from = tonumber(cursor == "" and 0 or cursor)
  found = call("ZRANGE", source, from, from + limit - 1, "WITHSCORES")
else
  found = call("ZREVRANGEBYSCORE", source, cursor == "" and "+inf" or "(" .. cursor, "-inf", "WITHSCORES", "LIMIT", 0, limit)
end
local removals, removed = {}, {}
for at = 1, #found, 2 do
  local id = found[at]
  local header = read_header(id)
  if header and header.sequence <= cutoff and (only_type == "" or header.type == only_type) then
    plan_place(header.lane, true)
    call("HLEN", keys.run .. id)
    header.is_delayed = is_delayed
    removals[#removals + 1] = { id = id, header = header }
    removed[id] = header
  end
end
plan_ends(removed)

-- Apply
for _, removal in ipairs(removals) do
  local id, header = removal.id, removal.header
  remove_queued(id, header)
  call("DEL", keys.task .. id, keys.run .. id)
  if header.idem_key then
    call("DEL", header.idem_key)
  end
  if header.lane.reserved then
    count_held(header.lane, -1)
  end
  tell_waiters(id, header)
end
write_tallies()
refresh_lanes()
wake_touched()

local following = ""
if #found >= limit * 2 then
  if is_delayed then
    following = text(tonumber(cursor == "" and 0 or cursor) + limit - #removals)
  else
    following = text(tonumber(found[#found]))
  end
end
if #removals > 0 then
  keep_answer(answer, text(#removals) .. " " .. following)
end
return { "cleared", #removals, following }
