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
-- include: base meta admitting
-- Plan
local rates, answer = {}, { "admitted" }
for index = 2, #KEYS do
  local at = 3 * index - 3
  local rate = rate_of(KEYS[index], ARGV[at], tonumber(ARGV[at + 1]))
  pass(rate, tonumber(ARGV[at + 2]))
  rates[index - 1] = rate
end

-- Apply
write_rates()
return add_rates(answer, rates)
