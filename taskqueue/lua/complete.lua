#!lua flags=allow-oom
--[[
complete: end tasks as COMPLETED and, in the same call, claim for the slots that this frees.

KEYS
  meta     hash    settings of the queue
  claims   string  as in claim.lua; read only when a claim is asked for
ARGV
  prefix   str   of the queue's keys
  now      int   "" reads the server's clock
  count    int   how many tasks follow
  rest...  str   each task as id, token, result (msgpack), bill (its charge, "" for its price; ":"
                 and the tokens that its provider used, where it says so); then,
                 optionally, a claim as in claim.lua: worker, request, lease, limit, types with
                 their slots
RETURNS
  {words, claim}     words: one per task: "completed" (also for a repeat), "stale", or the outcome
                     that this token has had already; claim: the reply of claim.lua, or {}
  {"no_queue"}
MOVES
  PROCESSING -> COMPLETED; then as claim.lua
COST
  O(log n) a task
]]
-- include: base keys meta policy lanes counts record places ending providers routing judging credits holding promoting heap affording choosing fetching claiming
local count = tonumber(ARGV[3])

-- Plan
local words, completed, ends = {}, {}, {}
if ARGV[4 + count * 4] then
  call("GET", KEYS[2])
end
for index = 1, count do
  local at = 4 + (index - 1) * 4
  local id = ARGV[at]
  local claim, outcome = read_claim(id, ARGV[at + 1])
  if not outcome and ends[id] then
    outcome = "completed"
  end
  if not outcome then
    outcome = "completed"
    claim.value = ARGV[at + 2]
    if ARGV[at + 3] ~= "" then
      local charge, tokens = match(ARGV[at + 3], "^(%d*):?(%d*)$")
      claim.charge = tonumber(charge) or claim.charge
      claim.tokens = tonumber(tokens) or 0
    end
    plan_return(claim)
    completed[#completed + 1] = claim
    ends[id] = claim.header
  end
  words[index] = outcome
end
plan_ends(ends)

-- Apply
if #completed > 0 then
  for _, claim in ipairs(completed) do
    if claim.provider then
      answered(provider_named(claim.provider))
      spend_tokens(provider_named(claim.provider), claim.tokens or 0)
    end
    complete(claim)
  end
  write_returns()
end

local at = 4 + count * 4
local reply = {}
if ARGV[at] then
  reply = claim_tasks(at, KEYS[2])
else
  wake_touched()
end
return { words, reply }
