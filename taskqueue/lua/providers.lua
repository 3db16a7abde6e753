#!lua flags=no-writes
--[[
providers: the limits of all providers, and what they are at.

KEYS
  meta       hash  settings of the queue
  providers  set   providers that are known
ARGV
  prefix     str   of the queue's keys
  now        int   "" reads the server's clock
  limit      int   how many at the most
RETURNS
  {"providers", then for each a list}
      name, condition, opens, used, failures, allowed, waiting, max, min, rate, period, tokens, breaker
      condition: "paused", "open", "cooling", "probing", "full" or "ready"
      opens: ms until time alone may give it room, or ""
      allowed: tasks at once at present, or ""
      waiting: types that have tasks and found no room there, with a space between
      the others: as limit:provider has them; "" for what is not limited
  {"no_queue"}
MOVES
  nothing
COST
  O(providers + types that wait)
]]
-- include: base keys meta policy lanes providers routing
local providers, limit = KEYS[2], tonumber(ARGV[3])

local function condition_of(provider)
  if provider.is_paused then
    return "paused"
  elseif is_open(provider) then
    return "open"
  elseif provider.cooling_until > now then
    return "cooling"
  elseif has_failed(provider) then
    return "probing"
  end
  return provider_room(provider) > 0 and "ready" or "full"
end

local function types_waiting(provider)
  local names = {}
  for name in string.gmatch(provider.waiting, "%S+") do
    if is_runnable(type_named(name)) then
      names[#names + 1] = name
    end
  end
  return table.concat(names, " ")
end

local reply = { "providers" }
for _, name in ipairs(call("SRANDMEMBER", providers, limit)) do
  local provider = provider_named(name)
  local opens = opens_at(provider)
  local allowed = provider.min and floor(provider.allowed) or provider.max
  local state = { name, condition_of(provider), opens and opens - now or "", provider.used, provider.failures, allowed }
  state[6] = state[6] or ""
  state[7] = types_waiting(provider)
  for index, field in ipairs({ "max", "min", "rate", "period", "tokens", "breaker" }) do
    state[7 + index] = provider[field] or ""
  end
  reply[#reply + 1] = state
end
return reply
