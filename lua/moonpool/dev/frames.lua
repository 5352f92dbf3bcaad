-- What stood on the stack when an error was raised: functions, lines, locals; bounded, and without what looks secret.
-- Nothing of the script's is called: a __tostring or an __index that fails or waits would hide the error itself.

local core = require "moonpool.core"

local M = {}

local MOST_FRAMES, MOST_LOCALS, MOST_ENTRIES, LONGEST, KEPT = 30, 30, 12, 200, 8

local SECRET = { "passw", "secret", "token", "cookie", "authoriz", "api_?%-?key", "credential", "session", "csrf",
  "private" }

M.HIDDEN = "(hidden)"

--- Does a name of this kind usually hold what must not be shown?
function M.is_secret(name)
  name = type(name) == "string" and name:lower() or ""
  for _, pattern in ipairs(SECRET) do
    if name:find(pattern) then
      return true
    end
  end
  return false
end

local function shorten(text, most)
  if #text > most then
    return text:sub(1, most) .. ("… (%d bytes)"):format(#text)
  end
  return text
end

local function show_text(text)
  return (("%q"):format(shorten(text, LONGEST)):gsub("\\\n", "\\n"):gsub("[\0-\8\11-\31\127]", "?"))
end

local show

local function show_table(value, depth)
  local mt = debug.getmetatable(value)
  local name = type(mt) == "table" and rawget(mt, "__name")
  local prefix = type(name) == "string" and name .. " " or ""
  if depth <= 0 then
    return prefix .. (next(value) == nil and "{}" or "{…}")
  end
  local parts, n = {}, 0
  for key, inner in next, value do
    n = n + 1
    if n > MOST_ENTRIES then
      parts[#parts + 1] = "…"
      break
    end
    local text = M.is_secret(key) and M.HIDDEN or show(inner, depth - 1)
    if math.type(key) == "integer" and key == n then
      parts[#parts + 1] = text
    else
      local named = type(key) == "string" and key:find("^[%a_][%w_]*$")
      parts[#parts + 1] = (named and key or "[" .. show(key, 0) .. "]") .. " = " .. text
    end
  end
  return prefix .. (#parts == 0 and "{}" or "{ " .. table.concat(parts, ", ") .. " }")
end

function show(value, depth)
  local kind = type(value)
  if kind == "string" then
    return show_text(value)
  elseif kind == "number" or kind == "boolean" or kind == "nil" then
    return tostring(value)
  elseif kind == "table" then
    return show_table(value, depth)
  elseif kind == "function" then
    local info = debug.getinfo(value, "S")
    return info.what == "C" and "function (C)" or ("function <%s:%d>"):format(info.short_src, info.linedefined)
  end
  local mt = debug.getmetatable(value)
  local name = type(mt) == "table" and rawget(mt, "__name")
  return type(name) == "string" and name or kind
end

--- A value as text: its strings quoted, its tables two levels deep.
function M.show(value)
  return shorten(show(value, 2), 1000)
end

local function locals_of(level)
  local list = {}
  for i = 1, 250 do
    local name, value = debug.getlocal(level + 1, i)
    if not name or #list >= MOST_LOCALS then
      break
    elseif name:sub(1, 1) ~= "(" then
      list[#list + 1] = { name = name, value = M.is_secret(name) and M.HIDDEN or M.show(value) }
    end
  end
  return list
end

local function is_ours(source)
  return source:find("^@moonpool:") ~= nil or source:find("moonpool/[%w_/]+%.lua$") ~= nil
end

-- What a frame is called in the page. The name that our own code has for a function of the app says nothing.
local function title_of(info, caller)
  if info.what == "main" then
    return "the file itself"
  elseif info.name and not (caller and is_ours(caller.source)) then
    return (info.namewhat ~= "" and info.namewhat .. " " or "") .. info.name
  end
  return info.what == "C" and "a C function" or ("function at line %d"):format(info.linedefined)
end

--- The stack from `level` (as the caller counts it) down.
function M.stack(level)
  local frames = {}
  level = level + 1
  while #frames < MOST_FRAMES do
    local info = debug.getinfo(level, "Sln")
    if not info then
      break
    end
    local ours = is_ours(info.source)
    frames[#frames + 1] = {
      title = title_of(info, debug.getinfo(level + 1, "S")),
      file = info.source:match "^@(.*)", source = info.short_src, line = info.currentline,
      lua = info.what ~= "C", ours = ours, locals = not ours and info.what ~= "C" and locals_of(level) or {},
    }
    level = level + 1
  end
  return frames
end

local captured = {} -- the latest last: { err, frames }

local function capture(err)
  captured[#captured + 1] = { err = err, frames = M.stack(3) }
  if #captured > KEPT then
    table.remove(captured, 1)
  end
end

--- From now on each error that ends a task is looked at where it is raised.
function M.watch()
  core.on_raise(capture)
end

--- The stacks of an error: where it was raised first, then those of the tasks that were handed it.
function M.take(err)
  local found = {}
  for i = #captured, 1, -1 do
    if rawequal(captured[i].err, err) then
      table.insert(found, 1, captured[i].frames)
      table.remove(captured, i)
    end
  end
  return found
end

return M
