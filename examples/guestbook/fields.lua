-- What may be in the form, and what is said where it may not.

local M = {}

local FIELDS = {
  { name = "name", label = "Your name", most = 40 },
  { name = "text", label = "Your entry", most = 2000, lines = true },
}

-- Spaces around it are nobody's intention, and browsers send line ends as CRLF. A file is no text.
local function tidy(value)
  if type(value) ~= "string" then
    return ""
  end
  return (value:gsub("\r\n?", "\n"):match "^%s*(.-)%s*$")
end

local function fault(field, value)
  local length = utf8.len(value)
  if not length then
    return "This is not text that can be read."
  elseif length == 0 then
    return "Please write something here."
  elseif length > field.most then
    return ("At most %d characters, please; these are %d."):format(field.most, length)
  elseif value:find(field.lines and "[\0-\8\11-\31\127]" or "[\0-\31\127]") then
    return "There are characters in it that cannot be shown."
  end
end

--- → { ok, values = { name, text }, errors = { name = "…" } }; what cannot be shown again is not among the values.
function M.read(form)
  local result = { ok = true, values = {}, errors = {} }
  for _, field in ipairs(FIELDS) do
    local value = tidy(form[field.name])
    local why = fault(field, value)
    result.values[field.name] = utf8.len(value) and value or ""
    result.errors[field.name] = why
    result.ok = result.ok and not why
  end
  return result
end

M.list = FIELDS

return M
