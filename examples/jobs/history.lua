-- What was run, by whom, and how it ended; and who did what. In SQLite, so that it is there tomorrow.
--
-- A job that runs belongs to a worker. Each worker says once a second that it lives, in memory that all share; what is
-- marked as running and belongs to none of them was lost with its worker. It is shown as lost: nobody knows its end.
--
-- Jobs run without it as well: where the database cannot be had, one line of the log says so.

local moonpool = require "moonpool"
local sqlite = require "moonpool.sqlite"

local M = { KEPT = 1000 }

local LIFE = 5 -- seconds after which a worker that says nothing is gone
local me = ("%d-%s"):format(moonpool.worker.pid, moonpool.random(4))
local alive = moonpool.shared "jobs.workers"
local db

local function known(value)
  return value == nil and sqlite.null or value
end

local function told(value, message)
  if value == nil and message then
    moonpool.log.warn("the history could not be written", { why = message })
  end
  return value
end

local function live()
  alive:set(me, true, LIFE)
end

--- Marks what was lost with its worker; → how many.
function M.find_lost()
  local rows = db and told(db:query "SELECT id, worker FROM jobs WHERE state IN ('queued', 'running')") or {}
  local n = 0
  for _, row in ipairs(rows) do
    if not alive:get(row.worker) then
      told(db:exec([[UPDATE jobs SET state = 'lost', ended = ?, text = 'lost with its worker'
        WHERE id = ? AND state IN ('queued', 'running')]], moonpool.time(), row.id))
      n = n + 1
    end
  end
  return n
end

local function trim()
  told(db:exec("DELETE FROM jobs WHERE id <= (SELECT max(id) FROM jobs) - ?", M.KEPT))
  told(db:exec("DELETE FROM audit WHERE id <= (SELECT max(id) FROM audit) - ?", 10 * M.KEPT))
end

function M.open()
  live()
  moonpool.every(1, live)
  local opened, why = sqlite.open(os.getenv "JOBS_DB" or "jobs.db")
  local version
  if opened then
    version, why = opened:migrate {
      [[CREATE TABLE jobs (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL, args TEXT NOT NULL,
          who TEXT NOT NULL, worker TEXT NOT NULL, state TEXT NOT NULL, queued REAL NOT NULL, started REAL, ended REAL,
          code INTEGER, signame TEXT, timed_out INTEGER NOT NULL DEFAULT 0, text TEXT);
        CREATE INDEX jobs_state ON jobs (state) WHERE state IN ('queued', 'running');
        CREATE TABLE audit (id INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, who TEXT NOT NULL, ip TEXT NOT NULL,
          what TEXT NOT NULL, detail TEXT NOT NULL);
        CREATE TABLE users (name TEXT PRIMARY KEY, hash TEXT NOT NULL);]],
    }
  end
  if not version then
    return moonpool.log.warn("there is no history", { why = why })
  end
  db = opened
  moonpool.every(2, M.find_lost, { once = "pool", name = "jobs lost" })
  moonpool.every(60, trim, { once = "pool", name = "jobs trimmed" })
end

function M.is_open()
  return db ~= nil
end

--- A new job; → its number, or nil where there is no history.
function M.add(name, args, who)
  local added = db and told(db:exec([[INSERT INTO jobs (name, args, who, worker, state, queued)
    VALUES (?, ?, ?, ?, 'queued', ?)]],
    name, moonpool.json.encode(moonpool.json.array(args)), who, me, moonpool.time()))
  return added and added.last_id
end

function M.started(id)
  return id and told(db:exec("UPDATE jobs SET state = 'running', started = ? WHERE id = ?", moonpool.time(), id))
end

--- `state`: "done" (it exited 0), "failed", "cancelled" or "lost".
function M.ended(id, state, result)
  return id and told(db:exec([[UPDATE jobs SET state = :state, ended = :ended, code = :code, signame = :signame,
    timed_out = :timed_out, text = :text WHERE id = :id]], {
    id = id, state = state, ended = moonpool.time(), code = known(result.code), signame = known(result.signame),
    timed_out = result.timed_out and 1 or 0, text = known(result.text),
  }))
end

--- A job that has ended already, in one step.
function M.record(name, args, state, result)
  local now = moonpool.time()
  return db and told(db:exec([[INSERT INTO jobs (name, args, who, worker, state, queued, started, ended, code, signame,
    timed_out, text) VALUES (:name, :args, 'api', :worker, :state, :began, :began, :ended, :code, :signame, :timed_out,
    :text)]], {
    name = name, args = moonpool.json.encode(moonpool.json.array(args)), worker = me, state = state,
    began = now - result.elapsed, ended = now, code = known(result.code), signame = known(result.signame),
    timed_out = result.timed_out and 1 or 0, text = known(result.text),
  }))
end

function M.audit(who, ip, what, detail)
  return db and told(db:exec("INSERT INTO audit (at, who, ip, what, detail) VALUES (?, ?, ?, ?, ?)",
    moonpool.time(), who, ip, what, detail or ""))
end

--- Waiting and running ones first, then the latest.
function M.latest(n)
  return db and told(db:query([[SELECT * FROM jobs ORDER BY state NOT IN ('queued', 'running'), id DESC LIMIT ?]], n))
    or {}
end

function M.audited(n)
  return db and told(db:query("SELECT * FROM audit ORDER BY id DESC LIMIT ?", n)) or {}
end

function M.hash_of(name)
  return db and told(db:value("SELECT hash FROM users WHERE name = ?", name))
end

function M.set_user(name, hash)
  return db and told(db:exec("INSERT INTO users VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET hash = excluded.hash",
    name, hash))
end

return M
