#!lua flags=allow-oom
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
  fresh      int   1 forgets what it learned, and the provider itself if it has no settings and no tasks
  rest...    str   settings as field, value; "none" takes one away
RETURNS
  {"set"}
  {"above", max}   min would be above max; "" if there is none
  {"no_queue"}
MOVES
  nothing; wakes the types that found no room there
COST
  O(types that wait)
]]
-- include: base keys meta policy lanes providers
local SETTINGS = { "max", "min", "rate", "period", "tokens", "breaker", "paused" }
local LEARNED = { "lowered_at", "next_at", "spare", "spare_at", "cooling_until", "failures", "opens", "open_until" }

-- Plan
local limit, providers, name, is_fresh = KEYS[2], KEYS[3], ARGV[3], ARGV[4] == "1"
local provider = provider_named(name)
plan_room(provider)
local stored, settings, wants_min = call("HMGET", limit, unpack(SETTINGS)), {}, false
for index, field in ipairs(SETTINGS) do
  settings[field] = stored[index] or nil
end
for at = 5, #ARGV, 2 do
  settings[ARGV[at]] = ARGV[at + 1] ~= "none" and ARGV[at + 1] or nil
  wants_min = wants_min or ARGV[at] == "min"
end
if wants_min and settings.min and tonumber(settings.min) > tonumber(settings.max or -1) then
  return { "above", settings.max or "" }
end
-- Without a highest concurrency there is none that adapts.
settings.min = settings.max and settings.min
settings.period = settings.rate and settings.period

-- Apply
for _, field in ipairs(SETTINGS) do
  if settings[field] then
    call("HSET", limit, field, settings[field])
  else
    call("HDEL", limit, field)
  end
end
if is_fresh then
  call("HDEL", limit, unpack(LEARNED))
end
-- A concurrency that was never lowered, or has grown back, is the highest also when that is raised.
-- Whoever reads one that was learned within other bounds brings it inside of these.
if is_fresh or not settings.min or not provider.min or provider.allowed >= provider.max then
  call("HDEL", limit, "allowed")
end
if is_fresh and not next(settings) and provider.used == 0 then
  call("DEL", limit)
  call("SREM", providers, name)
else
  call("HSET", limit, "used", provider.used, "waiting", "")
  call("SADD", providers, name)
end
wake_touched()
return { "set" }
