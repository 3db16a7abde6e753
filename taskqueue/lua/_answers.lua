-- Calls that leave nothing by which a repeat could be told from another call of the same kind: what
-- they answered is kept for a while, under a name that the caller made for this one call.
local ANSWER_KEPT_MS = 3600000

-- Apply half.
local function keep_answer(key, answered)
  call("SET", key, answered, "PX", ANSWER_KEPT_MS)
end
