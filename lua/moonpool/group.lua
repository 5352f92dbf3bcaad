-- app:group(prefix[, middleware…], function(group)): routes with a prefix and middleware of their own. They are the
-- app's routes: names, error pages and `req.base` are as without the group, and what the group has no route for is not
-- its business. A whole app below a prefix is app:mount.

local router = require "moonpool.router"

local M = {}

local methods = {}
local metatable = { __index = methods, __name = "moonpool.group" }

local function check_prefix(prefix, level)
  if type(prefix) ~= "string" then
    error("app:group: the prefix must be a string, got " .. type(prefix), level + 1)
  end
  local segments, why = router.parse(prefix)
  if not segments then
    error("app:group: " .. why, level + 1)
  end
  if segments[#segments].kind == "rest" then
    error(("app:group: %s: nothing may follow *%s"):format(prefix, segments[#segments].text), level + 1)
  end
  return prefix == "/" and "" or (prefix:gsub("/$", ""))
end

local function check_callable(fn, what, level)
  local mt = getmetatable(fn)
  if type(fn) ~= "function" and not (type(mt) == "table" and type(mt.__call) == "function") then
    error(("app:group: %s must be a function, got %s"):format(what, type(fn)), level + 1)
  end
end

local function is_callable(value)
  return pcall(check_callable, value, "", 0)
end

-- [options,] handler… → the same with the group's middleware in front of the handlers
local function with_steps(group, first, ...)
  local steps = table.move(group._steps, 1, #group._steps, 1, {})
  if type(first) == "table" and not is_callable(first) then
    return first, table.unpack(table.move({ ... }, 1, select("#", ...), #steps + 1, steps))
  end
  steps[#steps + 1] = first
  return table.unpack(table.move({ ... }, 1, select("#", ...), #steps + 1, steps))
end

local function add(word)
  methods[word] = function(group, pattern, ...)
    if type(pattern) ~= "string" then
      error(("group:%s: the pattern must be a string, got %s"):format(word, type(pattern)), 2)
    elseif pattern ~= "" and pattern:sub(1, 1) ~= "/" then
      error(("group:%s: %q does not start with /"):format(word, pattern), 2)
    elseif select("#", ...) == 0 or select("#", ...) == 1 and not is_callable((...)) then
      error(("group:%s(%q): a handler is missing"):format(word, pattern), 2)
    end
    local whole = group._prefix .. pattern
    group._app[word](group._app, whole == "" and "/" or whole, with_steps(group, ...))
    return group
  end
end
for _, method in ipairs(router.METHODS) do
  add(method:lower())
end
add "any"

--- group:use(fn): middleware of the group's routes that follow.
function methods.use(group, fn)
  check_callable(fn, "the middleware", 2)
  group._steps[#group._steps + 1] = fn
  return group
end

local function open(app, prefix, steps, what, ...)
  local n = select("#", ...)
  local group = setmetatable({ _app = app, _prefix = prefix, _steps = table.move(steps, 1, #steps, 1, {}) }, metatable)
  for i = 1, n do
    check_callable((select(i, ...)), i == n and "what defines it" or "its middleware", 3)
  end
  if n == 0 then
    error(what .. ": a function(group) is missing", 3)
  end
  for i = 1, n - 1 do
    group._steps[i + #steps] = select(i, ...)
  end
  select(n, ...)(group)
end

--- group:group(prefix[, middleware…], fn): one below it.
function methods.group(group, prefix, ...)
  open(group._app, group._prefix .. check_prefix(prefix, 2), group._steps, "group:group", ...)
  return group
end

function M.open(app, prefix, ...)
  open(app, check_prefix(prefix, 2), {}, "app:group", ...)
  return app
end

return M
