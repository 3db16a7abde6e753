-- Strict: the highest score of all lanes runs next.
local policy = {
  virtual = false,
  rank = function(head, priority, virtual)
    return head
  end,
}
