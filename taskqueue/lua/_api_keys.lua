-- API keys: for each a record, `key:<id>`; for each tenant an index of its keys by when they end; and
-- the tenants that have any. What has ended goes when a key of the same tenant is made, rotated or revoked.

-- Plan half. Returns the record of a key that lives; nil for one that was never made, or has ended.
local function read_key(key)
  local values = call("HMGET", key, "digest", "tenant", "name", "rate", "created", "expires")
  local expires = tonumber(values[6] or nil)
  if not values[1] or expires and expires <= now then
    return nil
  end
  return {
    digest = values[1],
    tenant = values[2],
    name = values[3],
    rate = values[4],
    created = tonumber(values[5]),
    expires = expires,
  }
end

-- Plan half. Returns the index of a tenant's keys; what the apply half writes beside the record was read.
local function plan_index(tenant, owners)
  local index = keys.api_keys .. tenant
  call("ZCARD", index)
  call("SCARD", owners)
  return index
end

-- Apply half.
local function write_key(key, index, owners, id, record)
  call("HSET", key, "digest", record.digest, "tenant", record.tenant, "name", record.name, "rate", record.rate, "created", now)
  call("ZADD", index, "+inf", id)
  call("SADD", owners, record.tenant)
end

-- Apply half. Ends a key at an instant, or at once.
local function end_key(key, index, id, instant)
  if instant <= now then
    call("DEL", key)
    call("ZREM", index, id)
  else
    call("HSET", key, "expires", instant)
    call("PEXPIREAT", key, instant)
    call("ZADD", index, instant, id)
  end
end

-- Apply half. Forgets the keys of a tenant that have ended, and a tenant without any.
local function forget_ended(index, owners, tenant)
  call("ZREMRANGEBYSCORE", index, "-inf", now)
  if call("EXISTS", index) == 0 then
    call("SREM", owners, tenant)
  end
end
