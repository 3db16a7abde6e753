#!lua
--[[
set_provider: change the limits of a provider for the whole fleet, pause it, or open it again.

KEYS
  meta       hash  settings of the queue
  limit      hash  the limits of this provider
  providers  set   providers that are known
ARGV
  prefix     str   of the queue's keys
  now        int   "" reads the server's clock
  name       str   of the provider
  fresh      int   1 forgets what it learned: cooling, breaker, adapted concurrency, spare tokens
  rest...    str   settings as field, value; "none" takes one away
RETURNS
  {"set"}
  {"no_queue"}
MOVES
  nothing; wakes the types that found no room there
COST
  O(types that wait)
]]
-- include: base keys meta policy lanes providers
local LEARNED = {
  "allowed", "lowered_at", "next_at", "spare", "spare_at", "cooling_until", "failures", "opens", "open_until",
}

-- Plan
local limit, providers, name = KEYS[2], KEYS[3], ARGV[3]
local provider = provider_named(name)
plan_room(provider)

-- Apply
for at = 5, #ARGV, 2 do
  if ARGV[at + 1] == "none" then
    call("HDEL", limit, ARGV[at])
  else
    call("HSET", limit, ARGV[at], ARGV[at + 1])
  end
end
if ARGV[4] == "1" then
  call("HDEL", limit, unpack(LEARNED))
end
-- What was learned within other bounds is brought inside of these; without bounds it is forgotten.
local bounds = call("HMGET", limit, "min", "max", "allowed")
if not bounds[1] then
  call("HDEL", limit, "allowed")
elseif bounds[3] then
  call("HSET", limit, "allowed", max(tonumber(bounds[1]), min(tonumber(bounds[2]), tonumber(bounds[3]))))
end
call("HSET", limit, "waiting", "")
call("HINCRBY", limit, "used", 0)
call("SADD", providers, name)
wake_touched()
return { "set" }
