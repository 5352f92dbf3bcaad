-- A random source of one's own, so that a seed means the same operations whoever else draws numbers (xorshift64*).
local M = {}
local Random = {}
Random.__index = Random

function M.new(seed)
  local r = setmetatable({ state = seed * 0x9E3779B97F4A7C15 | 1 }, Random)
  for _ = 1, 8 do r:next() end
  return r
end

function Random:next()
  local x = self.state
  x = x ~ x >> 12
  x = x ~ x << 25
  x = x ~ x >> 27
  self.state = x
  return x * 0x2545F4914F6CDD1D
end

-- An integer from low to high, both included.
function Random:int(low, high) return low + (self:next() >> 1) % (high - low + 1) end
function Random:below(x) return (self:next() >> 11) / 0x1p53 * x end
function Random:chance(p) return self:below(1) < p end
function Random:pick(list) return list[self:int(1, #list)] end

-- One of a list of { weight = … }; `sum` is that of their weights.
function Random:weighed(list, sum)
  local x = self:below(sum)
  for _, one in ipairs(list) do
    x = x - one.weight
    if x < 0 then return one end
  end
  return list[#list]
end

return M
