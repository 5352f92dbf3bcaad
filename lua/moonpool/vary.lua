-- The Vary field: what an answer depends on, each name once.

local M = {}

--- Adds names that are not there yet.
function M.add(res, ...)
  local field = res:header "Vary"
  local seen = {}
  for name in (field or ""):gmatch("[^%s,]+") do
    seen[name:lower()] = true
  end
  for _, name in ipairs { ... } do
    if not seen["*"] and not seen[name:lower()] then
      field = field and field .. ", " .. name or name
    end
  end
  if field then
    res:header("Vary", field)
  end
end

return M
