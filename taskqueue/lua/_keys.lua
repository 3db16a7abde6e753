-- The keys that only a script can name. taskqueue/keys.py spells the same; a test compares them.
local keys = {
  types = prefix .. "types",
  tenants = prefix .. "tenants",
  due = prefix .. "due",
  leased = prefix .. "leased",
  dead = prefix .. "dead",
  virtual = prefix .. "virtual",
  workers = prefix .. "workers",
  limited = prefix .. "limited",
}
function keys.task(id) return prefix .. "task:" .. id end
function keys.run(id) return prefix .. "run:" .. id end
function keys.waiters(id) return prefix .. "waiters:" .. id end
function keys.ready(type, group) return prefix .. "ready:" .. type .. ":" .. group end
function keys.lanes(type) return prefix .. "lanes:" .. type end
function keys.wake(type) return prefix .. "wake:" .. type end
function keys.delayed(tenant) return prefix .. "delayed:" .. tenant end
function keys.finished(tenant) return prefix .. "finished:" .. tenant end
function keys.limit_type(type) return prefix .. "limit:type:" .. type end
function keys.limit_tenant(tenant) return prefix .. "limit:tenant:" .. tenant end
function keys.count_type(type) return prefix .. "count:type:" .. type end
function keys.count_tenant(tenant) return prefix .. "count:tenant:" .. tenant end
function keys.idem(tenant, digest) return prefix .. "idem:" .. tenant .. ":" .. digest end
function keys.inbox(owner) return prefix .. "inbox:" .. owner end
