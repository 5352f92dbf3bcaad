-- Rows, a batch at a time: for row in db:rows(sql, …) do … end. What holds the cursor is given back at the end of the
-- loop, however that is left.

local connections = require "moonpool.sqlite.connections"
local core = require "moonpool.core"
local query = require "moonpool.sqlite.query"

local post = core.sqlite_post

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
    connections.give_back(self._db, self._reader)
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

--- The method of a database and of a transaction.
return function(self, sql, ...)
  query.check(self, "rows")
  local rows = setmetatable({ _owner = self, _db = self._db or self }, rows_meta)
  local ok, batch, cursor, reader = query.run(self, "rows", "fetch", sql, ...)
  rows._reader = reader
  rows._connection = reader or self._writer
  rows:_fill(ok, batch, cursor)
  if reader then
    local message, code
    rows._permit, message, code = connections.enter(rows._db, rows._db._cursors)
    if not rows._permit then
      rows:_end()
      raise_failure(message, code)
    end
  end
  return rows, nil, nil, rows
end
