-- The Accept field: which of several types a client likes best (RFC 9110, 12.5.1).

local M = {}

local function quality_of(parameters)
  local text = parameters:match ";%s*[qQ]%s*=%s*([^;%s]*)"
  local q = text and text:find "^[01]%.?%d*$" and tonumber(text)
  return text == nil and 1 or q and q <= 1 and q or 0 -- what is no quality asks for nothing
end

--- How much a type is wanted: its quality; and 2 where it is named, 1 by "type/*", 0 by "*/*", -1 by nothing.
function M.wanted(accept, name)
  local quality, exact = 0, -1
  local group = name:match "^[^/]+" .. "/*"
  for range, rest in accept:lower():gmatch "([^%s,;]+)([^,]*)" do
    local rank = range == name and 2 or range == group and 1 or range == "*/*" and 0 or -1
    if rank > exact then
      quality, exact = quality_of(rest), rank
    end
  end
  return quality, exact
end

--- The best of `names`: by quality, then by how exactly it is named, then by its place in the list. Without a field, or
--- where none is wanted, the first.
---@param accept string?
---@param names string[]
---@return string
function M.best(accept, names)
  local best, quality, exact = names[1], 0, -1
  for _, name in ipairs(accept and names or {}) do
    local q, e = M.wanted(accept, name)
    if q > quality or q > 0 and q == quality and e > exact then
      best, quality, exact = name, q, e
    end
  end
  return best
end

return M
