-- SQLite databases. Each connection has a thread of its own (core.sqlite_*), so that no query holds the loop.
--
--   sqlite/connections   which of them a query goes to      sqlite/transaction   several writes that belong together
--   sqlite/query         one answer                         sqlite/migrate       the version of the tables
--   sqlite/rows          a list, a batch at a time          sqlite/options       what open takes

local connections = require "moonpool.sqlite.connections"
local core = require "moonpool.core"
local migrate = require "moonpool.sqlite.migrate"
local options_of = require "moonpool.sqlite.options"
local query = require "moonpool.sqlite.query"
local rows = require "moonpool.sqlite.rows"
local transaction = require "moonpool.sqlite.transaction"

local M = { null = core.json and core.json.null, blob = core.sqlite_blob }

local Database = { __name = "moonpool.sqlite" }
Database.__index = Database

local function check_open(db, what, level)
  if getmetatable(db) ~= Database then
    error(what .. ": call it with a colon, on a database", level + 1)
  elseif db._owner and db._owner == core.running() then
    error(("%s: within db:transaction use what its function was given, as in tx:%s(…)"):format(what, what), level + 1)
  end
end

query.give(Database)
Database.rows = rows
Database._perform = connections.perform

function Database:_check(what)
  check_open(self, what, 4)
end

function Database:_fetch(list)
  if list._reader then
    return core.sqlite_run(list._reader, "fetch", "outside", nil, nil, nil, list._cursor)
  end
  check_open(self, "rows", 4)
  return connections.on_writer(self, "fetch", nil, nil, nil, list._cursor)
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

function Database:transaction(fn, mode)
  check_open(self, "transaction", 2)
  transaction.check_function("transaction", fn, 2)
  if mode ~= nil and not transaction.BEGIN[mode] then
    error(('transaction: the mode is "deferred", "immediate" or "exclusive", not %s'):format(tostring(mode)), 2)
  end
  return transaction.run(self, fn, mode or "immediate", 0)
end

function Database:migrate(list)
  check_open(self, "migrate", 2)
  migrate.check(list, 2)
  return migrate.run(self, list)
end

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
    _write = core.gate(1, connections.WAITING),
    _read = core.gate(math.max(settings.readers, 1), connections.WAITING),
    _cursors = core.gate(settings.cursors, connections.WAITING),
    _free = {},
    _writes = {},
    _n_writes = 0,
  }, Database)
  db._writer = connections.connect(db, false)
  if core.running() and core.yieldable() then
    local ok, why, why_code = connections.ready(db)
    if not ok then
      db:close()
      return nil, why, why_code
    end
  end
  return db
end

return M
