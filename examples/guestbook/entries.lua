-- The entries, in SQLite.

local sqlite = require "moonpool.sqlite"

local M = { PER_PAGE = 10 }

local db

-- What the database could not do is an answer: that it is busy passes, anything else is for whoever runs this.
local function need(value, message, code)
  if value == nil and message then
    local busy = code == "SQLITE_BUSY"
    error {
      status = busy and 503 or 500,
      message = busy and "the book is in use, please try again" or "the book cannot be read: " .. message,
      headers = busy and { ["Retry-After"] = "1" } or nil,
    }
  end
  return value
end

function M.open()
  db = assert(sqlite.open(os.getenv "GUESTBOOK_DB" or "guestbook.db"))
  assert(db:migrate {
    [[CREATE TABLE entries (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        who TEXT NOT NULL,
        name TEXT NOT NULL,
        text TEXT NOT NULL,
        at INTEGER NOT NULL DEFAULT (unixepoch())
      )]],
  })
end

function M.count()
  return need(db:value "SELECT count(*) FROM entries")
end

--- The entries of page `n`, newest first.
function M.page(n)
  return need(db:query("SELECT id, who, name, text, at FROM entries ORDER BY id DESC LIMIT ? OFFSET ?",
    M.PER_PAGE, (n - 1) * M.PER_PAGE))
end

function M.add(who, name, text)
  return need(db:exec("INSERT INTO entries (who, name, text) VALUES (?, ?, ?)", who, name, text)).last_id
end

--- True if `id` was there and written by `who`.
function M.remove(id, who)
  return need(db:exec("DELETE FROM entries WHERE id = ? AND who = ?", id, who)).changes == 1
end

return M
