-- The connections of a database, and which of them a query goes to:
--
--   what writes, transactions ─► the writer, one at a time, in turn
--   what only reads           ─► one of `readers`, made when they are first wanted; where the journal is not WAL,
--                                or there is no file, the writer
--   long lists of rows        ─► a reader that is kept for as long as the loop over them

local core = require "moonpool.core"

local M = { WAITING = 1024 } -- queries that may wait in turn for one connection

local WRITES_KEPT = 500 -- statements that are known not to be for readers

local run, post = core.sqlite_run, core.sqlite_post

--- One more connection; none is opened before its first query.
function M.connect(db, reader)
  local settings = {}
  for name, value in pairs(db._settings) do
    settings[name] = value
  end
  settings.reader = reader
  return core.sqlite_connect(settings)
end

--- A place in turn. Within one worker it is what busy_timeout is between processes.
function M.enter(db, gate)
  local permit, _, code = core.gate_enter(gate, db._patience)
  if permit then
    return permit
  elseif code == "timeout" then
    return nil, ("the database is busy: other queries of this worker have held it for %g s"):format(db._patience),
      "SQLITE_BUSY"
  end
  return nil, ("the database is busy: %d queries wait already"):format(M.WAITING), "SQLITE_BUSY"
end

local CLOSED = "the database is closed"

--- The first use opens it: an app file's body cannot wait.
function M.ready(db)
  if db._closed then
    return nil, CLOSED, "closed"
  elseif db._ready then
    return true
  end
  local permit <close>, message, code = M.enter(db, db._write)
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
  return table.remove(db._free) or M.connect(db, true)
end

function M.give_back(db, connection)
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
    M.give_back(lease.db, lease.connection)
  end
end

local function on_reader(db, op, sql, values, named)
  local permit <close>, message, code = M.enter(db, db._read)
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

function M.on_writer(db, op, sql, values, named, cursor)
  local permit <close>, message, code = M.enter(db, db._write)
  if not permit then
    return nil, message, code
  end
  return run(db._writer, op, "outside", sql, values, named, cursor)
end

local function is_for_readers(db, op, sql)
  return db._has_readers and op ~= "exec" and not db._writes[sql]
end

--- ok, a, b, and for rows the reader that holds the cursor; nil, message, code; false, message: the caller's mistake
function M.perform(db, op, sql, values, named)
  local opened, message, code = M.ready(db)
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
  return M.on_writer(db, op, sql, values, named)
end

return M
