-- The settings of the queue, read once. A queue without settings was wiped, or never opened.
local meta_values = call("HMGET", KEYS[1], "stride", "bounded", "max_sequence", "retention", "paused", "virtual")
if not meta_values[1] then
  return { "no_queue" }
end
local meta = {
  stride = tonumber(meta_values[1]),
  bounded = meta_values[2] == "1",
  max_sequence = tonumber(meta_values[3]),
  retention = tonumber(meta_values[4]),
  paused = meta_values[5] == "1",
  virtual = tonumber(meta_values[6] or 0),
}

-- The one formula of the order; taskqueue/ranking.py has the same and proves it.
local function score_of(priority, sequence)
  local plain = priority * meta.stride - sequence
  if meta.bounded then
    return plain * 256 + priority
  end
  return plain
end

local function priority_of(score)
  if meta.bounded then
    return score % 256
  end
  return floor(score / meta.stride) + 1
end
