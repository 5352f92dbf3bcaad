-- The public module: what a script gets from require "moonpool". Each name is told in docs/api.md.

local core = require "moonpool.core"
local app = require "moonpool.app"

local M = {
  app = app.new,
  background = core.background,
  cancelled = core.cancelled,
  escape = core.escape,
  json = core.json,
  now = core.now,
  random = core.random,
  run = core.run,
  running = core.running,
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
