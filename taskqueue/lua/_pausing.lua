-- Shared by pause and resume: the flag of a type, a tenant or the whole queue.
local function plan_pause(limit, limited, scope, name)
  call("SCARD", limited)
  if scope == "queue" then
    for _, type in ipairs(all_types()) do
      touch_type(type_named(type))
    end
    return
  end
  call("HLEN", limit)
  if scope == "type" then
    touch_type(type_named(name))
  else
    if policy.virtual then
      probe("zset", keys.virtual)
    end
    touch_family(tenant_named(name))
  end
end

local function write_pause(limit, limited, scope, name, paused)
  if scope == "queue" then
    limit = KEYS[1]
    meta.paused = paused
  end
  if paused then
    call("HSET", limit, "paused", "1")
  else
    call("HDEL", limit, "paused")
  end
  if scope ~= "queue" then
    local values = call("HMGET", limit, "max", "weight", "paused")
    local has_any = values[1] or values[2] or values[3]
    call(has_any and "SADD" or "SREM", limited, scope .. ":" .. name)
  end
  forget_limits()
  refresh_lanes(true)
  wake_touched()
end
