-- Which provider of a chain takes the next task: the first that has room. All arithmetic with its clocks
-- is here.

-- Intervals are whole parts of a millisecond, so that sums of them and the clock are exact.
local PARTS = 1024

-- Starts may come in a burst of a tenth of the rate, and then evenly: in no period more than the rate.
-- Returns the interval, and how far ahead of even starts a burst may be.
local function pace_of(provider)
  local burst = max(1, floor(provider.rate / 10))
  local interval = math.ceil(provider.period * PARTS / (provider.rate - burst + 1)) / PARTS
  return interval, (burst - 1) * interval
end

-- When the next start would be even. A start brings it at most one interval beyond the burst: what is
-- farther ahead was left by a slower rate, or by a clock that went back, and counts as a used burst.
local function even_start(provider, interval, slack)
  if provider.next_at > now + slack + interval then
    return now + slack
  end
  return max(provider.next_at, now)
end

local function spare_tokens(provider)
  return min(provider.tokens, provider.spare + (now - provider.spare_at) * provider.tokens / MINUTE)
end

local function is_open(provider)
  return provider.breaker > 0 and provider.open_until > now
end

-- Its breaker has opened, and no answer has closed it since.
local function has_failed(provider)
  return provider.breaker > 0 and provider.failures >= provider.breaker
end

-- How many tasks may start on it now.
local function provider_room(provider)
  if provider.is_paused or provider.cooling_until > now or is_open(provider) then
    return 0
  elseif provider.tokens and spare_tokens(provider) < 1 then
    return 0
  end
  local most = provider.min and floor(provider.allowed) or provider.max
  local room = most and most - provider.used or math.huge
  if has_failed(provider) then
    -- It was open long enough: one task at a time finds out.
    room = min(room, 1 - provider.probes)
  end
  if provider.rate == 0 then
    room = 0
  elseif provider.rate then
    local interval, slack = pace_of(provider)
    room = min(room, floor((now + slack - even_start(provider, interval, slack)) / interval) + 1)
  end
  return max(0, room)
end

-- When time alone may give it room again; nil if it waits for something else.
local function opens_at(provider)
  if provider.is_paused or provider.rate == 0 or provider.tokens == 0 then
    return nil
  end
  local at = max(provider.cooling_until, is_open(provider) and provider.open_until or 0)
  if provider.rate then
    local interval, slack = pace_of(provider)
    at = max(at, even_start(provider, interval, slack) - slack)
  end
  if provider.tokens and spare_tokens(provider) < 1 then
    at = max(at, now + (1 - spare_tokens(provider)) * MINUTE / provider.tokens)
  end
  return at > now and math.ceil(at) or nil
end

-- When the first of a chain opens by itself; math.huge if none does.
local function first_opening(chain)
  local first = math.huge
  for _, provider in ipairs(chain) do
    first = min(first, opens_at(provider) or math.huge)
  end
  return first
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
  provider.used = provider.used + 1
  if provider.rate then
    local interval, slack = pace_of(provider)
    provider.next_at = even_start(provider, interval, slack) + interval
  end
  if has_failed(provider) then
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
