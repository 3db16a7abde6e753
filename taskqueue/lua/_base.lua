-- The words every script starts with. By convention KEYS[1] is the key `meta`, ARGV[1] the
-- prefix of the queue's keys and ARGV[2] the time ("" reads the server's clock, once).
local call = redis.call
local floor, min, max = math.floor, math.min, math.max
local match, sub, find, format = string.match, string.sub, string.find, string.format

local prefix = ARGV[1]
local CHUNK = 1000

-- A number that becomes part of a text goes through here: Lua's own conversion loses digits from
-- 1e14 on. Numbers handed to the server as they are stay exact: it prints 17 digits.
local function text(number)
  return format("%d", number)
end

local now
if ARGV[2] ~= "" then
  now = tonumber(ARGV[2])
else
  local clock = call("TIME")
  now = clock[1] * 1000 + floor(clock[2] / 1000)
end

-- Sends one variadic command in pieces that Lua's stack can hold.
local function send(command, key, arguments)
  for first = 1, #arguments, CHUNK do
    call(command, key, unpack(arguments, first, min(first + CHUNK - 1, #arguments)))
  end
end

-- Reading a key of the wrong kind, or one that a cluster is moving away, fails here, in the plan,
-- where nothing has been written yet. Every key that the apply half writes is read or probed first.
-- Returns how much the key held when it was first probed.
local PROBE = { hash = "HLEN", zset = "ZCARD", list = "LLEN", set = "SCARD", string = "STRLEN" }
local probed = {}
local function probe(kind, key)
  local size = probed[key]
  if not size then
    size = call(PROBE[kind], key)
    probed[key] = size
  end
  return size
end
