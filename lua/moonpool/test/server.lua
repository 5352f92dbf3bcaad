-- The real server, on a free port, for as long as a test.

local blocks = require "moonpool.test.block"
local check = require "moonpool.test.check"
local clients = require "moonpool.test.client"
local core = require "moonpool.core"
local trial = core.trial

local M = {}
local methods = {}
local metatable = { __index = methods, __name = "moonpool.test.server" }

local OPTIONS = { app = "string", args = "table", workers = "number", env = "table", timeout = "number" }
local BOOT_S = 30

-- Reads the log line by line, until the server has ended.
local function follow(server)
  for line in server._process.stderr:lines() do
    server._lines[#server._lines + 1] = line
    local url = line:match("listening on (http://%S+)")
    server.url = server.url or url
    if line:find("worker ready", 1, true) then
      server._ready = server._ready + 1
    end
  end
  server._ended = true
end

local function await_ready(server, workers, seconds)
  local waited = 0
  while not (server.url and server._ready >= workers) do
    if server._ended or waited >= seconds then
      return false
    end
    core.sleep(0.005)
    waited = waited + 0.005
  end
  return true
end

--- What it has logged so far.
function methods.log(server)
  return table.concat(server._lines, "\n")
end

--- A client of it, as test.client gives it.
function methods.client(server, options)
  return clients.remote(server.url, options, 2)
end

--- Ends it; raises when it did not end well. Also by `<close>`, and at the end of the test.
function methods.stop(server)
  return server._close()
end

metatable.__close = methods.stop

local function give_up(server)
  server._process:stop(0)
  core.wait(server._end)
  core.wait(server._reader)
end

local function stop(server)
  server._process:kill "SIGTERM"
  local result, _, code = core.wait(server._end, BOOT_S)
  if code == "timeout" then
    give_up(server)
    error("the server did not stop; its log:\n" .. server:log(), 0)
  end
  core.wait(server._reader)
  if not result.ok then
    error(("the server ended with %s; its log:\n%s"):format(tostring(result), server:log()), 0)
  end
end

local function argv_of(options)
  local argv = { trial.program, "serve", options.app or "app.lua", "--listen", "127.0.0.1:0", "--workers",
    tostring(options.workers or 1) }
  for _, word in ipairs(options.args or {}) do
    argv[#argv + 1] = tostring(word)
  end
  return argv
end

function M.new(options, level)
  options = check.options("server", options, OPTIONS, level + 1)
  local spec = argv_of(options)
  spec.stderr, spec.stdout, spec.setenv, spec.grace, spec.cwd = "pipe", "null", options.env, BOOT_S, clients.root()
  local server = setmetatable({ _lines = {}, _ready = 0, _process = assert(core.spawn(spec)) }, metatable)
  server.pid = server._process.pid
  server._reader = blocks.current().realm:spawn(follow, server)
  server._end = blocks.current().realm:spawn(core.wait, server._process)
  if not await_ready(server, options.workers or 1, options.timeout or BOOT_S) then
    give_up(server)
    error("server: it does not start; its log:\n" .. server:log(), level + 1)
  end
  server._close = blocks.on_close(function() stop(server) end)
  server.port = tonumber(server.url:match(":(%d+)$"))
  return server
end

return M
