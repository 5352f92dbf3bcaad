-- SQLite databases. Each connection has a thread of its own (core.sqlite_*), so that no query holds the loop; here is
-- decided which connection a query goes to:
--
--   what writes, transactions ─► the writer, one at a time, in turn
--   what only reads           ─► one of `readers`, made when they are first wanted; where the journal is not WAL,
--                                or there is no file, the writer
--   long lists of rows        ─► a reader that is kept for as long as the loop over them

local core = require "moonpool.core"
local options_of = require "moonpool.sqlite.options"

local M = { null = core.json and core.json.null, blob = core.sqlite_blob }

local WAITING = 1024   -- queries that may wait in turn for one connection
local WRITES_KEPT = 500 -- statements that are known not to be for readers
local MIGRATION_PATIENCE = 60

local Database = { __name = "moonpool.sqlite" }
Database.__index = Database

local Transaction = { __name = "moonpool.sqlite.transaction" }
Transaction.__index = Transaction

local run, post = core.sqlite_run, core.sqlite_post

---- connections

local function connect(db, reader)
  local settings = {}
  for name, value in pairs(db._settings) do
    settings[name] = value
  end
  settings.reader = reader
  return core.sqlite_connect(settings)
end

-- A place in turn. Within one worker it is what busy_timeout is between processes.
local function enter(db, gate)
  local permit, _, code = core.gate_enter(gate, db._patience)
  if permit then
    return permit
  elseif code == "timeout" then
    return nil, ("the database is busy: other queries of this worker have held it for %g s"):format(db._patience),
      "SQLITE_BUSY"
  end
  return nil, ("the database is busy: %d queries wait already"):format(WAITING), "SQLITE_BUSY"
end

local function check_open(db, what, level)
  if getmetatable(db) ~= Database then
    error(what .. ": call it with a colon, on a database", level + 1)
  elseif db._owner and db._owner == core.running() then
    error(("%s: within db:transaction use what its function was given, as in tx:%s(…)"):format(what, what), level + 1)
  end
end

local CLOSED = "the database is closed"

-- The first use opens it: an app file's body cannot wait.
local function ready(db)
  if db._closed then
    return nil, CLOSED, "closed"
  elseif db._ready then
    return true
  end
  local permit <close>, message, code = enter(db, db._write)
  if not permit then
    return nil, message, code
  end
  local ok, wal, why = run(db._writer, "open")
  if not ok then
    return nil, wal, why
  end
  db._ready = true
  db._has_readers = wal and db._settings.readers > 0
  return true
end

-- A reader out of the pool; the permit says that there is one for us.
local function take_reader(db)
  return table.remove(db._free) or connect(db, true)
end

local function give_reader(db, connection)
  if db._closed or #db._free >= db._settings.readers then
    post(connection, "reset")
    core.sqlite_drop(connection)
  else
    db._free[#db._free + 1] = connection
  end
end

---- one query

local function remember_write(db, sql)
  if db._n_writes >= WRITES_KEPT then
    db._writes, db._n_writes = {}, 0
  end
  db._writes[sql] = true
  db._n_writes = db._n_writes + 1
end

local lease_meta = {}

-- The connection goes back when the block is left, unless a loop over its rows keeps it.
function lease_meta.__close(lease)
  if lease.connection then
    give_reader(lease.db, lease.connection)
  end
end

local function on_reader(db, op, sql, values, named)
  local permit <close>, message, code = enter(db, db._read)
  if not permit then
    return nil, message, code
  end
  local lease <close> = setmetatable({ db = db, connection = take_reader(db) }, lease_meta)
  local ok, a, b = run(lease.connection, op, "outside", sql, values, named)
  if ok and op == "fetch" and b ~= 0 then
    local kept = lease.connection
    lease.connection = nil
    return ok, a, b, kept
  end
  return ok, a, b
end

local function on_writer(db, op, sql, values, named, cursor)
  local permit <close>, message, code = enter(db, db._write)
  if not permit then
    return nil, message, code
  end
  return run(db._writer, op, "outside", sql, values, named, cursor)
end

local function is_for_readers(db, op, sql)
  return db._has_readers and op ~= "exec" and not db._writes[sql]
end

-- ok, a, b, and for rows the reader that holds the cursor; nil, message, code; false, message: the caller's mistake
local function perform(db, op, sql, values, named)
  local opened, message, code = ready(db)
  if not opened then
    return nil, message, code
  end
  if is_for_readers(db, op, sql) then
    local ok, a, b, reader = on_reader(db, op, sql, values, named)
    if ok ~= false or a then
      return ok, a, b, reader
    end
    remember_write(db, sql)
  end
  return on_writer(db, op, sql, values, named)
end

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

local function query(self, what, op, sql, ...)
  check_sql(what, sql, 3)
  local values, named = checked(what, 3, parameters(...))
  local ok, a, b, c = self:_perform(op, sql, values, named)
  if ok == false then
    error(("%s: %s"):format(what, a), 3)
  end
  return ok, a, b, c
end

local function check(self, what)
  local meta = getmetatable(self)
  if meta ~= Database and meta ~= Transaction then
    error(what .. ": call it with a colon, on a database or a transaction", 3)
  end
  self:_check(what)
end

local shared = {} -- methods of a database and of a transaction alike

function shared:query(sql, ...)
  check(self, "query")
  local ok, a, b = query(self, "query", "query", sql, ...)
  if not ok then
    return nil, a, b
  end
  return a
end

function shared:row(sql, ...)
  check(self, "row")
  local ok, a, b = query(self, "row", "first", sql, ...)
  if not ok then
    return nil, a, b
  end
  return a
end

function shared:value(sql, ...)
  check(self, "value")
  local ok, a, b = query(self, "value", "first", sql, ...)
  if not ok then
    return nil, a, b
  end
  return b
end

function shared:exec(sql, ...)
  check(self, "exec")
  local ok, a, b = query(self, "exec", "exec", sql, ...)
  if not ok then
    return nil, a, b
  end
  return { changes = a, last_id = b ~= 0 and b or nil }
end

---- rows, a batch at a time

local Failure = { __name = "moonpool.sqlite.failure" }

function Failure:__tostring()
  return ("%s: %s (%s)"):format(self.what, self.message, self.code)
end

-- An iterator has no other way to say it.
local function raise_failure(message, code)
  error(setmetatable({ what = "rows", message = message, code = code }, Failure), 0)
end

local Rows = {}

function Rows:_end()
  self._over, self._batch = true, nil
  local connection, cursor = self._connection, self._cursor
  self._connection, self._cursor = nil, nil
  if connection and cursor then
    post(connection, "close_cursor", "outside", nil, nil, nil, cursor)
  end
  if self._reader then
    give_reader(self._db, self._reader)
    self._reader = nil
  end
  if self._permit then
    self._permit:release()
    self._permit = nil
  end
end

function Rows:_fill(ok, batch, cursor)
  if not ok then
    self:_end()
    raise_failure(batch, cursor)
  end
  self._batch, self._at = batch, 0
  self._cursor = cursor ~= 0 and cursor or nil
end

function Rows:_fetch()
  if self._over then
    return
  end
  self:_fill(self._owner:_fetch(self))
end

function Rows:_next()
  while not self._over do
    self._at = self._at + 1
    local row = self._batch[self._at]
    if row then
      return row
    elseif not self._cursor then
      self:_end()
    else
      self:_fetch()
    end
  end
end

local rows_meta = {
  __index = Rows,
  __call = Rows._next,
  __close = Rows._end,
  __gc = Rows._end,
}

function shared:rows(sql, ...)
  check(self, "rows")
  local rows = setmetatable({ _owner = self, _db = self._db or self }, rows_meta)
  local ok, batch, cursor, reader = query(self, "rows", "fetch", sql, ...)
  rows._reader = reader
  rows._connection = reader or self._writer
  rows:_fill(ok, batch, cursor)
  if reader then
    local message, code
    rows._permit, message, code = enter(rows._db, rows._db._cursors)
    if not rows._permit then
      rows:_end()
      raise_failure(message, code)
    end
  end
  return rows, nil, nil, rows
end

---- the database

for name, method in pairs(shared) do
  Database[name] = method
  Transaction[name] = method
end

Database._perform = perform

function Database:_check(what)
  check_open(self, what, 4)
end

function Database:_fetch(rows)
  if rows._reader then
    return run(rows._reader, "fetch", "outside", nil, nil, nil, rows._cursor)
  end
  check_open(self, "rows", 4)
  return on_writer(self, "fetch", nil, nil, nil, rows._cursor)
end

function Database:close()
  if getmetatable(self) ~= Database then
    error("close: call it with a colon, on a database", 2)
  elseif self._closed then
    return
  end
  self._closed = true
  local all = self._free
  self._free = {}
  all[#all + 1] = self._writer
  for _, connection in ipairs(all) do
    core.sqlite_close(connection)
  end
end

Database.__close = Database.close

function Database:__tostring()
  return ("database (%s%s)"):format(self.path, self._closed and ", closed" or "")
end

---- transactions

local BEGIN = { deferred = "BEGIN", immediate = "BEGIN IMMEDIATE", exclusive = "BEGIN EXCLUSIVE" }

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

function Transaction:_fetch(rows)
  self:_check "rows"
  return run(self._writer, "fetch", "inside", nil, nil, nil, rows._cursor)
end

function Transaction:__tostring()
  return ("transaction (%s%s)"):format(self._db.path, self._over and ", over" or "")
end

local function check_function(what, fn, level)
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

local ROLLBACK = {} -- returned first: what follows is told, and nothing is kept

local function finish(tx, what, sql, ...)
  if ... == ROLLBACK then
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
    local ok, message, code = run(db._writer, "exec", "begins", BEGIN[mode])
    if ok or code ~= "SQLITE_BUSY" or core.now() >= deadline then
      return ok, message, code
    end
    core.sleep(0.05)
  end
end

local function transact(db, fn, mode, patience)
  local opened, message, code = ready(db)
  if not opened then
    return nil, message, code
  end
  local permit <close>, why, why_code = enter(db, db._write)
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

function Database:transaction(fn, mode)
  check_open(self, "transaction", 2)
  check_function("transaction", fn, 2)
  if mode ~= nil and not BEGIN[mode] then
    error(('transaction: the mode is "deferred", "immediate" or "exclusive", not %s'):format(tostring(mode)), 2)
  end
  return transact(self, fn, mode or "immediate", 0)
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
  check_function("transaction", fn, 2)
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

---- migrations

local function check_migrations(list)
  if type(list) ~= "table" then
    error(("migrate: a list is wanted, got %s"):format(type(list)), 3)
  end
  for i, step in ipairs(list) do
    if type(step) ~= "string" and type(step) ~= "function" then
      error(("migrate: step %d must be SQL or a function(tx), got %s"):format(i, type(step)), 3)
    end
  end
end

local function run_step(tx, step)
  if type(step) == "string" then
    return tx:exec(step)
  end
  local results = table.pack(step(tx))
  if results.n > 1 and results[1] == nil then
    return nil, tostring(results[2]), results[3]
  end
  return true
end

-- The next step, if there is one: in a transaction of its own, which looks again, for other workers do the same.
-- → the version, and whether that was the last
local function next_step(tx, list)
  local version, message, code = tx:value "PRAGMA user_version"
  if not version then
    return ROLLBACK, nil, message, code
  elseif version > #list then
    return ROLLBACK, nil, ("the database is at version %d, and %d are known"):format(version, #list), "EINVAL"
  elseif version == #list then
    return version, true
  end
  local ok
  ok, message, code = run_step(tx, list[version + 1])
  if ok then
    ok, message, code = tx:exec(("PRAGMA user_version = %d"):format(version + 1))
  end
  if not ok then
    return ROLLBACK, nil, ("step %d: %s"):format(version + 1, message), code
  end
  return version + 1, version + 1 == #list
end

function Database:migrate(list)
  check_open(self, "migrate", 2)
  check_migrations(list)
  while true do
    local version, last, code = transact(self, function(tx)
      return next_step(tx, list)
    end, "immediate", MIGRATION_PATIENCE)
    if not version then
      return nil, last, code
    elseif last then
      return version
    end
  end
end

---- opening

--- open(path[, options]) → a database; nil, message, code when the library is missing or the file cannot be opened.
---@param path string
---@param options table?
function M.open(path, options)
  local settings = options_of(path, options)
  if not core.sqlite_library then
    return nil, "sqlite: this Moonpool was built without it (MOONPOOL_SQLITE=off), or this is a thread", "ENOSYS"
  end
  local there, message, code = core.sqlite_library()
  if not there then
    return nil, message, code
  end
  local db = setmetatable({
    path = path,
    _settings = settings,
    _patience = settings.busy_ms / 1000,
    _write = core.gate(1, WAITING),
    _read = core.gate(math.max(settings.readers, 1), WAITING),
    _cursors = core.gate(settings.cursors, WAITING),
    _free = {},
    _writes = {},
    _n_writes = 0,
  }, Database)
  db._writer = connect(db, false)
  if core.running() and core.yieldable() then
    local ok, why, why_code = ready(db)
    if not ok then
      db:close()
      return nil, why, why_code
    end
  end
  return db
end

return M
