-- The keys that only a script can name: whole, or up to the name that follows (`ready` and `idem` take
-- two, with a colon between). taskqueue/keys.py spells the same; a test compares them.
-- They follow from the prefix alone: a function of the server keeps those of the queue that it served last.
local LAST = {}
if LAST.prefix ~= prefix then
  LAST.prefix, LAST.keys = prefix, {
    seq = prefix .. "seq",
    types = prefix .. "types",
    tenants = prefix .. "tenants",
    due = prefix .. "due",
    leased = prefix .. "leased",
    dead = prefix .. "dead",
    virtual = prefix .. "virtual",
    providers = prefix .. "providers",
    task = prefix .. "task:",
    run = prefix .. "run:",
    waiters = prefix .. "waiters:",
    ready = prefix .. "ready:",
    lanes = prefix .. "lanes:",
    wake = prefix .. "wake:",
    delayed = prefix .. "delayed:",
    finished = prefix .. "finished:",
    limit_type = prefix .. "limit:type:",
    limit_tenant = prefix .. "limit:tenant:",
    limit_provider = prefix .. "limit:provider:",
    count_type = prefix .. "count:type:",
    count_tenant = prefix .. "count:tenant:",
    idem = prefix .. "idem:",
    inbox = prefix .. "inbox:",
    api_keys = prefix .. "keys:",
  }
end
local keys = LAST.keys
