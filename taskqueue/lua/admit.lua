#!lua flags=allow-oom
--[[
admit: let requests in, up to a rate for each API key and endpoint in each second of the server's clock.

KEYS
  meta      hash  settings of the queue
  rates...  hash  the counts of a key's second; the same one may stand here again
ARGV
  prefix    str   of the queue's keys
  now       int   "" reads the server's clock
  rest...   str   for each of the rates: endpoint, limit, how many ask
RETURNS
  {"admitted", granted, left, ...}   for each of the rates: how many may pass, and how many more could
  {"no_queue"}
MOVES
  nothing; counts go ten seconds after their second began
COST
  O(1) a rate
]]
-- include: base meta
local second, KEPT_MS = floor(now / 1000), 10000

-- Plan
local windows, answer = {}, { "admitted" }
for index = 2, #KEYS do
  local key, at = KEYS[index], 3 * index - 3
  local field, limit, wanted = "of:" .. ARGV[at], tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
  local stored = call("HMGET", key, "second", field)
  local window = windows[key]
  if not window then
    window = { is_new = tonumber(stored[1] or nil) ~= second, counts = {} }
    windows[key] = window
  end
  local count = window.counts[field] or (not window.is_new and tonumber(stored[2] or nil)) or 0
  local granted = max(0, min(wanted, limit - count))
  window.counts[field] = count + granted
  answer[#answer + 1] = granted
  answer[#answer + 1] = max(0, limit - count - granted)
end

-- Apply
for key, window in pairs(windows) do
  if window.is_new then
    call("DEL", key)
    call("HSET", key, "second", second)
    call("PEXPIRE", key, KEPT_MS)
  end
  for field, count in pairs(window.counts) do
    call("HSET", key, field, count)
  end
end
return answer
