-- The oldest ready task that was seen: when it was accepted, epoch ms.
local oldest

local function see(id)
  local header = id and read_header(id)
  if header and (not oldest or header.created < oldest) then
    oldest = header.created
  end
end

-- The oldest of a lane is the first of one of its priorities. In strict mode a priority is a range
-- of scores; in bounded mode the ranges overlap, and the first of the lane stands for it.
local function see_lane(type, group)
  local ready = keys.ready .. type .. ":" .. group
  see(call("ZREVRANGE", ready, 0, 0)[1])
  if meta.bounded then
    return
  end
  local score, last = call("ZREVRANGE", ready, 0, 0, "WITHSCORES")[2], nil
  -- Each turn comes to another priority; a score that no number of ours can be below would turn for ever.
  while score and score ~= last do
    last = score
    local below = "(" .. text(floor(tonumber(score) / meta.stride) * meta.stride)
    local following = call("ZREVRANGEBYSCORE", ready, below, "-inf", "WITHSCORES", "LIMIT", 0, 1)
    see(following[1])
    score = following[2]
  end
end
