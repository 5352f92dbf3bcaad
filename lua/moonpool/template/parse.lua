-- A template's text → Lua source that says the same, line for line, so that whatever Lua says of a line is true of the
-- template.
--
--   <%= escaped %>   <%- as it is %>   <% code %>   <%# comment %>   <%% is <%   -%> takes the end of its line along

local M = {}

-- Names that begin with an underscore are the run's own. `_o` is what was written so far, `_n` how many pieces.
local BEGIN = "local _ENV,_r=... local _o,_n,_e,_w={},0,_r.escaped,_r.raw _r.out=_o "
local CAPTURE = "local function capture(_f,...) local o,n=_o,_n _o,_n={},0 _f(...) local s=_r.concat(_o) _o,_n=o,n "
  .. "return _r.safe(s) end "
local BLOCK = "local function block(_k,_f) local s=_r.block(_k) if not s then s=capture(_f) if _r.define(_k,s) then "
  .. "return end end _n=_n+1 _o[_n]=_w(s) end "

local function newlines(text)
  return ("\n"):rep(select(2, text:gsub("\n", "")))
end

-- As Lua's own quotes, on one line; the lines that it had follow.
local function literal(text)
  if text == "" then
    return ""
  end
  local quoted = ("%q"):format(text):gsub("\\\n", "\\n")
  return ("_n=_n+1 _o[_n]=%s %s"):format(quoted, newlines(text))
end

local function fail(name, line, message)
  error(("%s:%d: %s"):format(name, line, message), 0)
end

-- Each is looked at alone, so that a mistake in it cannot be taken for one further down.
local function expression(name, line, code, show)
  local above = ("\n"):rep(line - 1)
  local ok, message = load(above .. "return " .. code, "@" .. name, "t")
  if not ok then
    error(message, 0)
  elseif not load("return (" .. code .. ")", "=", "t") then
    fail(name, line, "an expression is wanted, one and without a comment: " .. code:match "^%s*(.-)%s*$")
  end
  return ("_n=_n+1 _o[_n]=%s((%s)) "):format(show, code)
end

local function tag(name, line, body)
  local kind, rest = body:match "^([=#-]?)(.*)$"
  if kind == "#" then
    return newlines(rest)
  elseif kind == "" then
    return rest .. " "
  elseif not rest:find "%S" then
    fail(name, line, "the expression is empty")
  end
  return expression(name, line, rest, kind == "=" and "_e" or "_w")
end

-- → where the tag that begins at `at` ends, and what is in it
local function read_tag(name, text, at, line)
  local close = text:find("%>", at + 2, true)
  if not close then
    fail(name, line, "<% without %>")
  end
  local body, after = text:sub(at + 2, close - 1), close + 2
  local trimmed = ""
  if body:sub(-1) == "-" then
    body = body:sub(1, -2)
    trimmed = text:match("^[ \t]*\r?\n", after) or ""
  end
  return after + #trimmed, body, trimmed
end

--- Raises "file:line: …" for what is no template.
---@param text string
---@param name string
---@return string source
function M.source(text, name)
  local parts, at, line = { BEGIN }, 1, 1
  if text:find("capture", 1, true) or text:find("block", 1, true) then
    parts[2] = CAPTURE .. BLOCK
  end
  local function add(code)
    parts[#parts + 1] = code
    line = line + #newlines(code)
  end
  while true do
    local open = text:find("<%", at, true)
    add(literal(text:sub(at, (open or 0) - 1)))
    if not open then
      return table.concat(parts)
    elseif text:sub(open + 2, open + 2) == "%" then
      add(literal "<%")
      at = open + 3
    else
      local after, body, trimmed = read_tag(name, text, open, line)
      add(tag(name, line, body))
      add(newlines(trimmed))
      at = after
    end
  end
end

return M
