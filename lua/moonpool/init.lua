-- The public module: what a script gets from require "moonpool". Each name is told in docs/api.md.

local core = require "moonpool.core"
local app = require "moonpool.app"

local M = {
  app = app.new,
  background = core.background,
  cancelled = core.cancelled,
  escape = core.escape,
  json = core.json,
  log = require "moonpool.logging",
  now = core.now,
  offload = core.offload,
  random = core.random,
  run = core.run,
  running = core.running,
  service = core.service,
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

return M
