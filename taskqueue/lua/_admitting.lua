-- Counts requests against the rates of API keys: for each key and endpoint, in each second of the
-- server's clock. A count goes ten seconds after its second began.
local THIS_SECOND, RATE_KEPT_MS = floor(now / 1000), 10000
local windows = {}

-- Plan half. Returns the rate of a key at an endpoint; the same key may come again, also with another limit.
local function rate_of(key, endpoint, limit)
  local field = "of:" .. endpoint
  local stored, window = call("HMGET", key, "second", field), windows[key]
  if not window then
    window = { is_new = tonumber(stored[1] or nil) ~= THIS_SECOND, is_changed = false, counts = {} }
    windows[key] = window
  end
  if not window.counts[field] then
    window.counts[field] = not window.is_new and tonumber(stored[2] or nil) or 0
  end
  return { window = window, field = field, limit = limit, granted = 0 }
end

-- Plan half. How many of so many requests may pass; they are counted from here on, the others are not.
local function pass(rate, wanted)
  local window = rate.window
  local count = window.counts[rate.field]
  local granted = max(0, min(wanted, rate.limit - count))
  if granted > 0 then
    window.counts[rate.field] = count + granted
    window.is_changed = true
    rate.granted = rate.granted + granted
  end
  return granted
end

-- Appends to a reply, for each of the rates, how many passed and how many more could.
local function add_rates(reply, rates)
  for _, rate in ipairs(rates) do
    reply[#reply + 1] = rate.granted
    reply[#reply + 1] = max(0, rate.limit - rate.window.counts[rate.field])
  end
  return reply
end

-- Apply half.
local function write_rates()
  for key, window in pairs(windows) do
    if window.is_changed then
      if window.is_new then
        call("DEL", key)
        call("HSET", key, "second", THIS_SECOND)
        call("PEXPIRE", key, RATE_KEPT_MS)
      end
      for field, count in pairs(window.counts) do
        call("HSET", key, field, count)
      end
    end
  end
end
