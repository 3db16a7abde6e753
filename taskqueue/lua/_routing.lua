-- Which provider of a chain takes the next task: the first that has room.

local function interval_of(provider)
  -- Starts may come in a burst of a tenth of the rate, and then evenly: in no period more than the rate.
  local burst = max(1, floor(provider.rate / 10))
  local interval = provider.period / (provider.rate - burst + 1)
  return interval, (burst - 1) * interval
end

-- How many tasks may start on it now.
local function provider_room(provider)
  if provider.is_paused or provider.cooling_until > now or provider.open_until > now then
    return 0
  end
  local room = math.huge
  if provider.breaker > 0 and provider.failures >= provider.breaker then
    -- It was open long enough: one task at a time finds out.
    room = 1 - provider.probes
  else
    local most = provider.min and floor(provider.allowed) or provider.max
    if most then
      room = most - provider.used
    end
  end
  if provider.rate then
    local interval, slack = interval_of(provider)
    room = provider.rate == 0 and 0
      or min(room, floor((now + slack - max(provider.next_at, now)) / interval + 1.000001))
  end
  if provider.tokens and spare_tokens(provider) <= 0 then
    room = 0
  end
  return max(0, room)
end

-- When time alone gives it room again; nil if it waits for something else.
local function opens_at(provider)
  local at = max(provider.cooling_until, provider.open_until)
  if provider.rate and provider.rate > 0 then
    local _, slack = interval_of(provider)
    at = max(at, provider.next_at - slack)
  end
  if provider.tokens and provider.tokens > 0 and spare_tokens(provider) <= 0 then
    at = max(at, now + (1 - spare_tokens(provider)) * MINUTE / provider.tokens)
  end
  return not provider.is_paused and at > now and math.ceil(at) or nil
end

-- The first of a chain with room, as far as this script has used it; nil if there is none.
local function open_provider(chain)
  for _, provider in ipairs(chain) do
    provider.left = provider.left or provider_room(provider)
    if provider.left > 0 then
      return provider
    end
  end
  return nil
end

local function read_chain(names)
  if names == "" then
    return nil
  end
  local chain = {}
  for name in string.gmatch(names, "%S+") do
    chain[#chain + 1] = provider_named(name)
  end
  return chain
end

-- Apply half. Returns what the task's run says of it: its name, with "!" if it is a probe.
local function start_on(provider)
  local is_probe = provider.breaker > 0 and provider.failures >= provider.breaker
  provider.used = provider.used + 1
  if provider.rate and provider.rate > 0 then
    provider.next_at = max(provider.next_at, now) + interval_of(provider)
  end
  if is_probe then
    provider.probes = provider.probes + 1
    return provider.name .. "!"
  end
  return provider.name
end

-- Apply half: a type with tasks that found no room is woken when there may be some.
local function wait_for(chain, type)
  for _, provider in ipairs(chain) do
    if not find(" " .. provider.waiting .. " ", " " .. type .. " ", 1, true) then
      provider.waiting = provider.waiting == "" and type or provider.waiting .. " " .. type
    end
  end
end
