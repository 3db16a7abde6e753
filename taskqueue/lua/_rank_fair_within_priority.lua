-- FairWithinPriority: the highest priority runs next; inside it, the tenant with the least service.
local policy = {
  virtual = true,
  rank = function(head, priority, virtual)
    return priority * 35184372088832 - virtual
  end,
}
