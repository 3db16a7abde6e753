#!lua flags=allow-oom
--[[
purge: trim the indexes of what has expired by itself, and forget tenants and workers that are gone.

KEYS
  meta     hash  settings of the queue
  dead     zset  dead letters, score = when their records expire
  workers  zset  worker -> its last beat
  virtual  zset  tenant -> its virtual time (fair policies)
  tenants  set   tenants that have anything here
ARGV
  prefix   str   of the queue's keys
  now      int   "" reads the server's clock
  limit    int   how many index entries go at the most, for each index
  cursor   str   where the last pass over the tenants ended; "0" at first
  silence  int   ms after which a silent worker is gone
RETURNS
  {"purged", count, cursor}    cursor "0": all tenants were visited
  {"no_queue"}
MOVES
  nothing
COST
  O(log n) an entry
]]
-- include: base keys meta
local dead, workers, virtual, tenants = KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local limit, cursor, silence = tonumber(ARGV[3]), ARGV[4], tonumber(ARGV[5])
local TENANTS = 50

-- Plan
for _, key in ipairs({ dead, workers, virtual }) do
  call("ZCARD", key)
end
-- A tenant that waits for nothing and is no further than the queue starts like a new one anyway.
local caught_up = {}
for _, tenant in ipairs(call("ZRANGEBYSCORE", virtual, "-inf", meta.virtual, "LIMIT", 0, limit)) do
  if call("HEXISTS", keys.count_tenant .. tenant, "queued") == 0 then
    caught_up[#caught_up + 1] = tenant
  end
end
local visited = call("SSCAN", tenants, cursor, "COUNT", TENANTS)
for _, tenant in ipairs(visited[2]) do
  call("ZCARD", keys.finished .. tenant)
  call("HLEN", keys.count_tenant .. tenant)
  call("HLEN", keys.limit_tenant .. tenant)
end

-- Apply
local count = 0
local function trim(key, below)
  local expired = min(call("ZCOUNT", key, "-inf", below), limit)
  if expired > 0 then
    count = count + call("ZREMRANGEBYRANK", key, 0, expired - 1)
  end
end
trim(dead, now)
trim(workers, now - silence)
for _, tenant in ipairs(caught_up) do
  count = count + call("ZREM", virtual, tenant)
end
for _, tenant in ipairs(visited[2]) do
  local finished = keys.finished .. tenant
  trim(finished, now)
  if call("EXISTS", finished, keys.count_tenant .. tenant) == 0 and not call("HGET", keys.limit_tenant .. tenant, "used") then
    call("SREM", tenants, tenant)
  end
end
return { "purged", count, visited[1] }
