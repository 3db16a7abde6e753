-- FairTenants: the tenant with the least service runs next; inside it, priority and FIFO.
local policy = {
  virtual = true,
  rank = function(head, priority, virtual)
    return -virtual
  end,
}
