-- Sessions in an SQLite database: they outlive a restart. A query waits, so a handler that has changed its session
-- calls s:save() before it answers.
--
--   app:use(session { store = require "moonpool.session_sqlite" (db) })

local core = require "moonpool.core"

local Store = { __name = "moonpool.session.store" }
Store.__index = Store

local TABLE = [[
CREATE TABLE IF NOT EXISTS moonpool_sessions (
  id TEXT PRIMARY KEY, text TEXT NOT NULL, ends REAL NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS moonpool_sessions_ends ON moonpool_sessions (ends);]]
local CLEAN_EVERY = 300 -- seconds, in each worker

-- The table is made at the first use, where waiting is possible.
local function ready(self)
  if not self._made then
    local ok, message, code = self._db:exec(TABLE)
    if not ok then
      return nil, message, code
    end
    self._made = true
  end
  return true
end

function Store:load(id)
  local ok, message, code = ready(self)
  if not ok then
    return nil, message, code
  end
  return self._db:value("SELECT text FROM moonpool_sessions WHERE id = ? AND ends > ?", id, core.time())
end

local function clean(self)
  local now = core.time()
  if now - self._cleaned > CLEAN_EVERY then
    self._cleaned = now
    self._db:query("DELETE FROM moonpool_sessions WHERE ends <= ?", now)
  end
end

local UPDATE = "UPDATE moonpool_sessions SET text = ?, ends = ? WHERE id = ? RETURNING id"
local INSERT = "INSERT INTO moonpool_sessions (text, ends, id) VALUES (?, ?, ?) RETURNING id"

function Store:save(id, text, ttl, existing)
  local ok, message, code = ready(self)
  if not ok then
    return nil, message, code
  end
  clean(self)
  local found
  found, message, code = self._db:value(existing and UPDATE or INSERT, text, core.time() + ttl, id)
  if code then
    return nil, message, code
  end
  return found == id
end

function Store:delete(id)
  local ok, message, code = ready(self)
  if ok then
    ok, message, code = self._db:query("DELETE FROM moonpool_sessions WHERE id = ?", id)
  end
  if not ok then
    return nil, message, code
  end
  return true
end

--- A store in an open database.
return function(db)
  if type(db) ~= "table" or type(db.exec) ~= "function" or type(db.value) ~= "function" then
    error("session_sqlite: a database of moonpool.sqlite is wanted, got " .. type(db), 2)
  end
  return setmetatable({ _db = db, _cleaned = core.time() }, Store)
end
