-- The ways to fail, in the order of the page. `told`: the kind that on_error hears of; nil when it hears of nothing.
-- `run(req, res)` fails in that way, in its request or beside it.

local moonpool = require "moonpool"
local sqlite = require "moonpool.sqlite"

local DATABASE = os.getenv "ERRORS_DB" or "errors.db"

local store = moonpool.service "store"

local function shell(line)
  return { "sh", "-c", line }
end

-- A process that nobody waits for; the request stays until it has ended by itself.
local function forget(options, seconds)
  local process, message = moonpool.spawn(options)
  assert(process, message)
  moonpool.sleep(seconds)
end

-- One connection holds the file, the other gives up after a tenth of a second.
local function write_while_locked()
  local first <close> = assert(sqlite.open(DATABASE))
  local second <close> = assert(sqlite.open(DATABASE, { busy_timeout = 0.1 }))
  assert(first:transaction(function()
    assert(second:exec "CREATE TABLE never (id INTEGER)")
  end))
end

return {
  {
    name = "handler", title = "A handler raises", told = "handler",
    about = "500, without a word of the error's text.",
    run = function() error "the handler broke" end,
  },
  {
    name = "answer", title = "A handler answers with a 503", told = "handler",
    about = "The raised status is the answer. From 500 on it is an error as well.",
    run = function() error { status = 503, message = "the kitchen is closed" } end,
  },
  {
    name = "late", title = "A handler raises in the middle of its answer", told = "handler",
    about = "The head is out, so the connection is cut: the client sees the answer broken, never complete.",
    run = function(_, res)
      res:write "the beginning of an answer "
      error "the handler broke after its head"
    end,
  },
  {
    name = "task", title = "A task that nobody waits for raises", told = "task",
    about = "Told at the end of the request that the task belongs to.",
    run = function()
      moonpool.spawn(function() error "the task broke" end)
    end,
  },
  {
    name = "background", title = "A background task raises", told = "task",
    about = "It belongs to the worker and is told at once.",
    run = function()
      moonpool.background(function() error "the background task broke" end)
    end,
  },
  {
    name = "timer", title = "A timer raises", told = "timer",
    about = "Told when the firing is over; a timer that repeats would go on.",
    run = function()
      moonpool.after(0.01, function() error "the timer broke" end)
    end,
  },
  {
    name = "offload", title = "A function on another thread raises", told = "offload",
    about = "With the stack of that thread.",
    run = function()
      moonpool.offload(function() error "the offloaded function broke" end)
    end,
  },
  {
    name = "service", title = "A call of a service raises", told = "service",
    about = "The service goes on.",
    run = function() store:call "fail" end,
  },
  {
    name = "child-exit", title = "A child exits with 27", told = "process",
    about = "Nobody waited for it, so it is told when its request is over.",
    run = function() forget(shell "exit 27", 0.3) end,
  },
  {
    name = "child-signal", title = "A child is killed", told = "process",
    about = "A signal is a signal and never an exit code.",
    run = function() forget(shell "kill -KILL $$", 0.3) end,
  },
  {
    name = "child-timeout", title = "A child takes too long", told = "process",
    about = "It is asked to end, then made to.",
    run = function() forget({ "sleep", "3917", timeout = 0.1 }, 0.5) end,
  },
  {
    name = "child-start", title = "A child cannot be started", told = "handler",
    about = "nil, a message and ENOENT: not an exit with 127. This handler raises what it was told.",
    run = function() assert(moonpool.run { "no-such-program" }) end,
  },
  {
    name = "child-check", title = "A child was asked to succeed, and did not", told = "handler",
    about = "check = true raises, with the last line that the child wrote to stderr.",
    run = function()
      local command = shell "echo 'the disk is full' >&2; exit 3"
      command.check = true
      moonpool.run(command)
    end,
  },
  {
    name = "memory", title = "A handler wants more memory than there is", told = "handler",
    about = "503; the worker and its other requests go on.",
    run = function() return ("x"):rep(1 << 30) end,
  },
  {
    name = "loop", title = "A handler never ends", told = "handler",
    about = "After --timeout its coroutine is ended, and the line named where it was; other requests go on.",
    run = function() while true do end end,
  },
  {
    name = "sqlite", title = "The database is locked", told = "handler",
    about = "nil, a message and SQLITE_BUSY; this handler raises what it was told.",
    run = write_while_locked,
  },
  {
    name = "cancelled", title = "The client goes away",
    about = "No error: what the request waits for is cancelled, its processes are ended.",
    run = function() moonpool.run { "sleep", "3919" } end,
  },
  {
    name = "pattern", title = "A pattern never ends, in C",
    about = "No Lua runs that could be stopped, so the worker is replaced. The log says so; on_error ended with it.",
    run = function() return ("a"):rep(4000):find(("a-"):rep(24) .. "b") end,
  },
  {
    name = "crash", title = "The worker dies",
    about = "The log says how, and what it was doing; another worker takes its place.",
    run = function()
      moonpool.run { "sh", "-c", "kill -KILL " .. moonpool.worker.pid }
      moonpool.sleep(5)
    end,
  },
}
