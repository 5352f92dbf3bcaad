-- Transactions and what is nested in them. One holds the writer until its function has returned (it is committed) or
-- has not (it is rolled back).

local connections = require "moonpool.sqlite.connections"
local core = require "moonpool.core"
local query = require "moonpool.sqlite.query"
local rows = require "moonpool.sqlite.rows"

local Transaction = { __name = "moonpool.sqlite.transaction" }
Transaction.__index = Transaction

local M = {}

local run, post = core.sqlite_run, core.sqlite_post

query.give(Transaction)
Transaction.rows = rows

M.BEGIN = { deferred = "BEGIN", immediate = "BEGIN IMMEDIATE", exclusive = "BEGIN EXCLUSIVE" }

function Transaction:_check(what)
  if getmetatable(self) ~= Transaction then
    error(what .. ": call it with a colon, on a transaction", 4)
  elseif self._over then
    error(what .. ": the transaction is over", 4)
  end
end

function Transaction:_perform(op, sql, values, named)
  return run(self._writer, op, "inside", sql, values, named)
end

function Transaction:_fetch(list)
  self:_check "rows"
  return run(self._writer, "fetch", "inside", nil, nil, nil, list._cursor)
end

function Transaction:__tostring()
  return ("transaction (%s%s)"):format(self._db.path, self._over and ", over" or "")
end

function M.check_function(what, fn, level)
  if type(fn) ~= "function" then
    error(("%s: a function is wanted, got %s"):format(what, type(fn)), level + 1)
  end
end

-- Whatever ends the block. It waits for nothing: a task that is being ended may not get another turn, and what comes
-- next to this connection stands behind it.
local function leave_transaction(tx)
  tx._over = true
  tx._db._owner = nil
  post(tx._writer, "reset")
end

local transaction_guard = {
  __close = function(guard)
    leave_transaction(guard[1])
  end,
}

M.ROLLBACK = {} -- returned first: what follows is told, and nothing is kept

local function finish(tx, what, sql, ...)
  if ... == M.ROLLBACK then
    return select(2, ...)
  end
  local ok, message, code = run(tx._writer, "exec", "inside", sql)
  if not ok then
    return nil, ("%s: %s"):format(what, message), code
  end
  if select("#", ...) == 0 then
    return true
  end
  return ...
end

local function begin(db, mode, patience)
  local deadline = core.now() + patience
  while true do
    local ok, message, code = run(db._writer, "exec", "begins", M.BEGIN[mode])
    if ok or code ~= "SQLITE_BUSY" or core.now() >= deadline then
      return ok, message, code
    end
    core.sleep(0.05)
  end
end

--- What the function returns, or true; nil, message, code where it could not begin or be committed. `patience`: seconds
--- that another process's lock is waited for, beyond busy_timeout.
function M.run(db, fn, mode, patience)
  local opened, message, code = connections.ready(db)
  if not opened then
    return nil, message, code
  end
  local permit <close>, why, why_code = connections.enter(db, db._write)
  if not permit then
    return nil, why, why_code
  end
  local tx = setmetatable({ _db = db, _writer = db._writer, _depth = 0 }, Transaction)
  local _ <close> = setmetatable({ tx }, transaction_guard)
  local ok
  ok, message, code = begin(db, mode, patience)
  if not ok then
    return nil, message, code
  end
  db._owner = core.running()
  return finish(tx, "commit", "COMMIT", fn(tx))
end

local savepoint_guard = {
  __close = function(guard)
    guard.inner._over = true
    if not guard.released then
      post(guard.writer, "exec", "inside", ("ROLLBACK TO %s;RELEASE %s"):format(guard.name, guard.name))
    end
  end,
}

local function release(guard, tx, ...)
  local ok, message, code = run(tx._writer, "exec", "inside", "RELEASE " .. guard.name)
  if not ok then
    return nil, "release: " .. message, code
  end
  guard.released = true
  if select("#", ...) == 0 then
    return true
  end
  return ...
end

function Transaction:transaction(fn)
  self:_check "transaction"
  M.check_function("transaction", fn, 2)
  local depth = self._depth + 1
  local inner = setmetatable({ _db = self._db, _writer = self._writer, _depth = depth }, Transaction)
  local guard <close> = setmetatable({
    inner = inner, writer = self._writer, name = "level_" .. depth, released = true,
  }, savepoint_guard)
  local ok, message, code = run(self._writer, "exec", "inside", "SAVEPOINT " .. guard.name)
  if not ok then
    return nil, message, code
  end
  guard.released = false
  return release(guard, inner, fn(inner))
end

return M
