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

M.url = { encode = core.url_encode }

--- moonpool.url.decode(s[, plus]): with `plus`, "+" is a space. A bad escape: nil, message.
---@param text string
---@param plus boolean?
function M.url.decode(text, plus)
  local decoded = core.url_decode(text, plus)
  if not decoded then
    return nil, "malformed escape"
  end
  return decoded
end

return M
