-- Providers: the outside services that handlers call, each perhaps for several types. A provider has
-- limits of its own for the whole fleet; limit:provider:<name> holds them, and what they are at:
--   settings  max (concurrency), min (it may sink so far), rate (starts in each period), period (ms),
--             tokens (in a minute), breaker (failures in a row that open it), paused
--   state     used, probes, allowed (concurrency now, if it was lowered), lowered_at, next_at (of the
--             rate), spare and spare_at (tokens), cooling_until, failures, opens, open_until,
--             waiting (types that found no room)
local PROVIDER_FIELDS = {
  "max", "min", "rate", "period", "tokens", "breaker", "used", "probes", "allowed", "lowered_at", "next_at",
  "spare", "spare_at", "cooling_until", "failures", "opens", "open_until", "paused", "waiting",
}
local FIRST_OF_STATE, LAST_NUMBER = 7, 17
local BREAKER = 5
local MINUTE = 60000
local LONGEST_OPEN, LONGEST_COOLING = 300000, 3600000

-- After the clock went back, what no rule can have made so far ahead would keep it closed for as long.
local function forget_future(provider)
  if provider.cooling_until > now + LONGEST_COOLING then
    provider.cooling_until = 0
  end
  if provider.open_until > now + LONGEST_OPEN then
    provider.open_until = 0
  end
  provider.lowered_at = min(provider.lowered_at, now)
  provider.spare_at = min(provider.spare_at, now)
end

local known_providers = {}
local function provider_named(name)
  local provider = known_providers[name]
  if provider then
    return provider
  end
  local key = keys.limit_provider .. name
  local values = call("HMGET", key, unpack(PROVIDER_FIELDS))
  provider = { name = name, key = key, read = {}, left = false, is_known = values[FIRST_OF_STATE] ~= false }
  for index = 1, LAST_NUMBER do
    provider[PROVIDER_FIELDS[index]] = tonumber(values[index] or nil) or (index >= FIRST_OF_STATE and 0)
  end
  provider.period = provider.period or MINUTE
  provider.breaker = provider.breaker or BREAKER
  provider.is_paused = values[LAST_NUMBER + 1] == "1"
  provider.waiting = values[LAST_NUMBER + 2] or ""
  if provider.spare_at == 0 then
    provider.spare = provider.tokens or 0
  end
  if provider.min then
    provider.min = min(provider.min, provider.max)
    provider.allowed = provider.allowed == 0 and provider.max or provider.allowed
    provider.allowed = max(provider.min, min(provider.max, provider.allowed))
  end
  for index = FIRST_OF_STATE, #PROVIDER_FIELDS do
    provider.read[PROVIDER_FIELDS[index]] = provider[PROVIDER_FIELDS[index]]
  end
  forget_future(provider)
  known_providers[name] = provider
  probe("set", keys.providers)
  return provider
end

-- Plan half of whatever may make room: the types that found none are woken.
local function plan_room(provider)
  for name in string.gmatch(provider.waiting, "%S+") do
    touch_type(type_named(name))
  end
end

-- Apply half: a task has left it.
local function give_back(provider, is_probe)
  provider.used = max(0, provider.used - 1)
  if is_probe then
    provider.probes = max(0, provider.probes - 1)
  end
  provider.waiting = ""
end

local function write_providers()
  for _, provider in pairs(known_providers) do
    local changed = {}
    for index = FIRST_OF_STATE, #PROVIDER_FIELDS do
      local field = PROVIDER_FIELDS[index]
      if provider[field] ~= provider.read[field] then
        changed[#changed + 1] = field
        changed[#changed + 1] = provider[field]
        provider.read[field] = provider[field]
      end
    end
    if changed[1] then
      call("HSET", provider.key, unpack(changed))
      if not provider.is_known then
        call("SADD", keys.providers, provider.name)
        provider.is_known = true
      end
    end
  end
end
