#!lua flags=allow-oom
--[[
switch: a running task leaves its provider, says how that went, and goes on with another one that has room.

KEYS
  meta     hash  settings of the queue
ARGV
  prefix   str   of the queue's keys
  now      int   "" reads the server's clock
  id       str   of the task
  token    str   of its claim
  from     str   the provider that it leaves: a repeat finds that it has left
  verdict  str   "answered": it works, and refuses this task; "limited": it takes no more for now;
                 "failed": it does not work; "misconfigured": it refuses us; "left": nothing is known
  after    int   ms that it asks to be left alone; 0 if it says nothing
  tokens   int   that were used there
  rest...  str   names of the providers that may follow, in this order
RETURNS
  {"switched", provider}
  {"none", opens}          no other has room; epoch ms at which the first of them opens by itself, or ""
  {"stale"}
  {"no_queue"}
MOVES
  nothing
COST
  O(providers)
]]
-- include: base keys meta policy lanes counts record places ending providers routing credits holding
local FIRST_OPEN, LONGEST_OPEN, MISCONFIGURED_OPEN = 5000, 300000, 60000
local LOWERED_AGAIN_AFTER = 1000
local LONGEST_TRAIL = 500

-- A concurrency that adapts is halved by what came of one moment, once.
local function lower(provider)
  if provider.min and now >= provider.lowered_at + LOWERED_AGAIN_AFTER then
    provider.allowed = max(provider.min, floor(provider.allowed) / 2)
    provider.lowered_at = now
  end
end

-- Those that were under way when it opened fail too: they say nothing new.
local function open_breaker(provider, shortest)
  if now >= provider.open_until then
    provider.open_until = now + max(shortest, min(LONGEST_OPEN, FIRST_OPEN * 2 ^ min(provider.opens, 10)))
    provider.opens = provider.opens + 1
  end
end

local function judge(provider, verdict, after)
  if after > 0 then
    provider.cooling_until = max(provider.cooling_until, now + after)
  end
  if verdict == "answered" then
    answered(provider)
  elseif verdict == "limited" then
    lower(provider)
  elseif verdict == "failed" then
    lower(provider)
    provider.failures = provider.failures + 1
    if provider.breaker > 0 and provider.failures >= provider.breaker then
      open_breaker(provider, 0)
    end
  elseif verdict == "misconfigured" then
    provider.failures = max(provider.failures + 1, provider.breaker)
    if provider.breaker > 0 then
      open_breaker(provider, MISCONFIGURED_OPEN)
    end
  end
end

-- Plan
local id, from, verdict = ARGV[3], ARGV[5], ARGV[6]
local claim, outcome = read_claim(id, ARGV[4])
if outcome then
  return { "stale" }
end
if claim.provider ~= from then
  return claim.provider and { "switched", claim.provider } or { "none", "" }
end
local provider, others = provider_named(from), {}
for at = 9, #ARGV do
  others[#others + 1] = provider_named(ARGV[at])
end
plan_room(provider)
local trail = call("HGET", claim.run, "tried") or ""

-- Apply
spend_tokens(provider, tonumber(ARGV[8]))
judge(provider, verdict, tonumber(ARGV[7]))
give_back(provider, claim.is_probe)
trail = (trail == "" and "" or trail .. " ") .. from .. ":" .. verdict
if #trail <= LONGEST_TRAIL then
  call("HSET", claim.run, "tried", trail)
end
local following, opens = open_provider(others), ""
if following then
  call("HSET", claim.run, "provider", start_on(following))
else
  call("HDEL", claim.run, "provider")
  for _, other in ipairs(others) do
    local at = opens_at(other)
    opens = at and min(at, opens == "" and at or opens) or opens
  end
end
write_providers()
wake_touched()
return following and { "switched", following.name } or { "none", opens }
