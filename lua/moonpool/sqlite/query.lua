-- Queries with one answer: query, row, value and exec, of a database and of a transaction alike. Either says by its
-- `_perform` where a query goes to, and by its `_check` whether it may be asked now.

local core = require "moonpool.core"

local M = {}

-- What follows the SQL: values in order, or one table: a list, or names.
local function parameters(...)
  local n = select("#", ...)
  if n == 0 then
    return nil, false
  end
  local first = ...
  if n == 1 and type(first) == "table" and not core.sqlite_is_blob(first) then
    return first, true
  end
  return { n = n, ... }, false
end

local function check_sql(what, sql, level)
  if type(sql) ~= "string" then
    error(("%s: the SQL must be a string, got %s"):format(what, type(sql)), level + 1)
  elseif sql:find("\0", 1, true) then
    error(what .. ": the SQL holds a NUL", level + 1)
  end
end

-- Values are checked in C, which names them; the position is that of the caller.
local function checked(what, level, values, named)
  if values then
    local ok, message = pcall(core.sqlite_check, values, named)
    if not ok then
      error(("%s: %s"):format(what, message), level + 1)
    end
  end
  return values, named
end

--- ok, a, b, c as of `_perform`; a mistake of the caller's is raised at the line that called the method.
function M.run(self, what, op, sql, ...)
  check_sql(what, sql, 3)
  local values, named = checked(what, 3, parameters(...))
  local ok, a, b, c = self:_perform(op, sql, values, named)
  if ok == false then
    error(("%s: %s"):format(what, a), 3)
  end
  return ok, a, b, c
end

local classes = {} -- metatable → true: a database's, a transaction's

--- Is it one of ours, and may it be asked now?
function M.check(self, what)
  if not classes[getmetatable(self)] then
    error(what .. ": call it with a colon, on a database or a transaction", 3)
  end
  self:_check(what)
end

local methods = {}

function methods:query(sql, ...)
  M.check(self, "query")
  local ok, a, b = M.run(self, "query", "query", sql, ...)
  if not ok then
    return nil, a, b
  end
  return a
end

function methods:row(sql, ...)
  M.check(self, "row")
  local ok, a, b = M.run(self, "row", "first", sql, ...)
  if not ok then
    return nil, a, b
  end
  return a
end

function methods:value(sql, ...)
  M.check(self, "value")
  local ok, a, b = M.run(self, "value", "first", sql, ...)
  if not ok then
    return nil, a, b
  end
  return b
end

function methods:exec(sql, ...)
  M.check(self, "exec")
  local ok, a, b = M.run(self, "exec", "exec", sql, ...)
  if not ok then
    return nil, a, b
  end
  return { changes = a, last_id = b ~= 0 and b or nil }
end

--- These are methods of that class too.
function M.give(class)
  classes[class] = true
  for name, method in pairs(methods) do
    class[name] = method
  end
end

return M
