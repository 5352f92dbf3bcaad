-- The public module: what a script gets from require "moonpool". Each name is told in docs/api.md.

local core = require "moonpool.core"
local app = require "moonpool.app"
local limit = require "moonpool.limit"

local M = {
  after = core.after,
  app = app.new,
  background = core.background,
  cancelled = core.cancelled,
  channel = core.channel,
  escape = core.escape,
  every = core.every,
  json = core.json,
  limit = limit.new,
  now = core.now,
  random = core.random,
  read_file = core.read_file,
  run = core.run,
  running = core.running,
  scope = core.scope,
  semaphore = core.semaphore,
  settings = core.settings,
  sleep = core.sleep,
  spawn = core.spawn,
  stats = core.stats,
  time = core.time,
  url = { encode = core.url_encode, decode = core.url_decode },
  wait = core.wait,
  wait_all = core.wait_all,
  wait_any = core.wait_any,
  worker = core.worker,
  write_file = core.write_file,
}

M.log = {}
for _, level in ipairs { "debug", "info", "warn", "error" } do
  --- moonpool.log.info(message[, fields]): one line.
  M.log[level] = function(message, fields)
    if type(message) ~= "string" then
      error(("log.%s: the message must be a string, got %s"):format(level, type(message)), 2)
    elseif fields ~= nil and type(fields) ~= "table" then
      error(("log.%s: the fields must be a table, got %s"):format(level, type(fields)), 2)
    end
    core.log(level, message, fields)
  end
end

return M
