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
  {"none", opens}          no other has room; ms until the first of them opens by itself, or ""
  {"stale"}
  {"no_queue"}
MOVES
  nothing; wakes the types that found no room at the provider that it leaves
COST
  O(providers + types that wait)
]]
-- include: base keys meta policy lanes counts record places ending providers routing judging credits holding
local LONGEST_TRAIL = 500

-- Plan
local id, from, verdict = ARGV[3], ARGV[5], ARGV[6]
local claim, outcome = read_claim(id, ARGV[4])
if outcome then
  return { "stale" }
end
local others = {}
for at = 9, #ARGV do
  others[#others + 1] = provider_named(ARGV[at])
end
local has_left = claim.provider ~= from
if has_left and claim.provider then
  return { "switched", claim.provider }
elseif not has_left then
  plan_room(provider_named(from))
end
local trail = call("HGET", claim.run, "tried")

-- Apply
local following
if not has_left then
  local provider = provider_named(from)
  spend_tokens(provider, tonumber(ARGV[8]))
  judge(provider, verdict, tonumber(ARGV[7]))
  give_back(provider, claim.is_probe)
  trail = (trail and trail .. " " or "") .. from .. ":" .. verdict
  if #trail <= LONGEST_TRAIL then
    call("HSET", claim.run, "tried", trail)
  end
  following = open_provider(others)
  if following then
    call("HSET", claim.run, "provider", start_on(following))
  else
    call("HDEL", claim.run, "provider")
  end
  write_providers()
  wake_touched()
end
local opens = first_opening(others)
return following and { "switched", following.name } or { "none", opens < math.huge and opens - now or "" }
