-- What a provider learns from how its tasks end there. All of these belong to the apply half.
local FIRST_OPEN, MISCONFIGURED_OPEN = 5000, 60000
local COOLING = 1000
local LOWERED_AGAIN_AFTER = 1000
-- A single answer may use up so many minutes of tokens, and no more, ahead of time.
local LONGEST_DEBT = 10

local function spend_tokens(provider, used)
  if provider.tokens and used > 0 then
    provider.spare = max(spare_tokens(provider) - used, -LONGEST_DEBT * provider.tokens)
    provider.spare_at = now
  end
end

-- An answer, whatever it says, shows that the provider works. A concurrency that adapts grows by one in
-- as many answers as it allows at once, while exactly all of it is used: what still runs from before it
-- was lowered says nothing of what it is now.
local function answered(provider)
  provider.failures, provider.opens, provider.open_until = 0, 0, 0
  local whole = floor(provider.allowed)
  if provider.min and provider.read.used == whole then
    local grown = provider.allowed + 1 / max(1, whole)
    -- Sums of fractions may fall short of a whole by a little.
    provider.allowed = min(provider.max, grown > whole + 0.999999 and whole + 1 or grown)
  end
end

-- A concurrency that adapts is halved by what came of one moment, once.
local function lower(provider)
  if provider.min and now >= provider.lowered_at + LOWERED_AGAIN_AFTER then
    provider.allowed = max(provider.min, floor(provider.allowed) / 2)
    provider.lowered_at = now
  end
end

-- It stays open for twice as long each time. Those that were under way when it opened fail too: they
-- say nothing new.
local function open_breaker(provider, shortest)
  if provider.breaker > 0 and provider.failures >= provider.breaker and now >= provider.open_until then
    provider.open_until = now + max(shortest, min(LONGEST_OPEN, FIRST_OPEN * 2 ^ min(provider.opens, 10)))
    provider.opens = provider.opens + 1
  end
end

-- `after`: for how many ms it asks to be left alone.
local function judge(provider, verdict, after)
  if verdict == "limited" and after == 0 then
    after = COOLING
  end
  if after > 0 then
    provider.cooling_until = max(provider.cooling_until, now + min(after, LONGEST_COOLING))
  end
  if verdict == "answered" then
    answered(provider)
  elseif verdict == "limited" then
    lower(provider)
  elseif verdict == "failed" then
    lower(provider)
    provider.failures = provider.failures + 1
    open_breaker(provider, 0)
  elseif verdict == "misconfigured" then
    provider.failures = max(provider.failures + 1, provider.breaker)
    open_breaker(provider, MISCONFIGURED_OPEN)
  end
end
