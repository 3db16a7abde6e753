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

-- Rank, then the group's name, then the head: the order of ZREVRANGE, across types.
local function runs_before(a, b)
  if a.rank ~= b.rank then
    return a.rank > b.rank
  end
  if a.group ~= b.group then
    return comes_after(a.group, b.group)
  end
  return a.head > b.head
end

local function heap_sift_down()
  local size, at = #heap, 1
  local item = heap[1]
  while true do
    local child = at * 2
    if child > size then
      break
    end
    if child < size and runs_before(heap[child + 1], heap[child]) then
      child = child + 1
    end
    if not runs_before(heap[child], item) then
      break
    end
    heap[at] = heap[child]
    at = child
  end
  heap[at] = item
end

local function heap_push(item)
  local at = #heap + 1
  while at > 1 do
    local parent = floor(at / 2)
    if not runs_before(item, heap[parent]) then
      break
    end
    heap[at] = heap[parent]
    at = parent
  end
  heap[at] = item
end

local function heap_pop()
  local size = #heap
  heap[1] = heap[size]
  heap[size] = nil
  if size > 1 then
    heap_sift_down()
  end
end
