-- A binary heap of lanes, the one that runs next on top.
local heap = {}

-- Bytes, not Lua's `<`: that one follows the locale of the server.
local function comes_after(a, b)
  for index = 1, min(#a, #b) do
    local x, y = string.byte(a, index), string.byte(b, index)
    if x ~= y then
      return x > y
    end
  end
  return #a > #b
end

-- Rank, then the group's name, then the head: the order of ZREVRANGE, across types. Ranks mostly differ, and
-- whoever compares many looks at them first: a call costs more than they do.
local function runs_before(a, b)
  if a.rank ~= b.rank then
    return a.rank > b.rank
  end
  if a.group ~= b.group then
    return comes_after(a.group, b.group)
  end
  return a.head > b.head
end

-- Puts an item in the place of the top.
local function heap_replace(item)
  local size, at, rank = #heap, 1, item.rank
  while true do
    local child = at * 2
    if child > size then
      break
    end
    local best, other = heap[child], heap[child + 1]
    if other and (other.rank > best.rank or (other.rank == best.rank and runs_before(other, best))) then
      best, child = other, child + 1
    end
    if best.rank < rank or (best.rank == rank and not runs_before(best, item)) then
      break
    end
    heap[at] = best
    at = child
  end
  heap[at] = item
end

local function heap_push(item)
  local at, rank = #heap + 1, item.rank
  while at > 1 do
    local parent = floor(at / 2)
    local above = heap[parent]
    if rank < above.rank or (rank == above.rank and not runs_before(item, above)) then
      break
    end
    heap[at] = above
    at = parent
  end
  heap[at] = item
end

local function heap_pop()
  local size = #heap
  local last = heap[size]
  heap[size] = nil
  if size > 1 then
    heap_replace(last)
  end
end
