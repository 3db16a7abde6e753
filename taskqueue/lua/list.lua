#!lua flags=no-writes
--[[
list: a page of the tasks that a tenant handed in, without payloads, progress, results and errors.

KEYS
  meta     hash  settings of the queue
  types    set   types ever seen
  leased   zset  running tasks of all tenants
ARGV
  prefix   str   of the queue's keys
  now      int   "" reads the server's clock
  tenant   str   whose tasks
  type     str   only tasks of this type; "" for all
  states   str   the states that are asked for, such as "FAILED CANCELLED"; "" for all
  limit    int   tasks of the page at the most, from 1
  most     int   places that are looked at, about
  section  str   behind which position the page begins; "" three times at first
  place    str   likewise
  id       str   likewise
RETURNS
  {"page", tasks, section, place, id}   a task is its id and what fetch answers for it; then the position
                                        behind which the next page begins, "" three times: this is the last
  {"no_queue"}
MOVES
  nothing
COST
  O(types * (log n + limit) + most)
]]
-- include: base keys meta policy lanes record listing
local types, leased = KEYS[2], KEYS[3]
local tenant, type, states = ARGV[3], ARGV[4], ARGV[5]
local limit, most = tonumber(ARGV[6]), tonumber(ARGV[7])
local section, place, id = ARGV[8], ARGV[9], ARGV[10]
wanted = { tenant = tenant, type = type, states = states, limit = limit, most = most }
page = { tasks = {}, looked = 0, section = section, place = place, id = id, due = "" }
local names = type ~= "" and { type } or call("SMEMBERS", types)
local function is_asked(state)
  return states == "" or find(states, state, 1, true)
end

local sections = {}
if is_asked("QUEUED") then
  sections[1] = { "delayed", walk_set, keys.delayed .. tenant, true, "QUEUED" }
  sections[2] = { "ready", walk_lanes, names }
end
if is_asked("PROCESSING") then
  sections[#sections + 1] = { "leased", walk_leased, leased, names }
end
if is_asked("COMPLETED") or is_asked("FAILED") or is_asked("CANCELLED") then
  sections[#sections + 1] = { "finished", walk_set, keys.finished .. tenant, false }
end

local is_reached = page.section == ""
for _, each in ipairs(sections) do
  if is_reached then
    page.section, page.place, page.id = each[1], "", ""
  end
  is_reached = is_reached or each[1] == page.section
  if is_reached and not each[2](unpack(each, 3, 5)) then
    return { "page", page.tasks, page.section, page.place, page.id }
  end
end
return { "page", page.tasks, "", "", "" }
