-- The public module: what a script gets from require "moonpool". Each name is told in docs/api.md.

local core = require "moonpool.core"
local app = require "moonpool.app"
local later = require "moonpool.later"

local limit = later "moonpool.limit"

local M = {
  after = core.after,
  app = app.new,
  background = core.background,
  cancelled = core.cancelled,
  channel = core.channel,
  escape = core.escape,
  every = core.every,
  json = core.json,
  limit = function(...) return limit.new(...) end,
  log = require "moonpool.logging",
  now = core.now,
  offload = core.offload,
  publish = core.publish,
  random = core.random,
  read_file = core.read_file,
  run = core.run,
  running = core.running,
  scope = core.scope,
  semaphore = core.semaphore,
  service = core.service,
  shared = core.shared,
  settings = core.settings,
  sleep = core.sleep,
  spawn = core.spawn,
  stats = core.stats,
  subscribe = core.subscribe,
  time = core.time,
  url = { encode = core.url_encode, decode = core.url_decode },
  wait = core.wait,
  wait_all = core.wait_all,
  wait_any = core.wait_any,
  worker = core.worker,
  write_file = core.write_file,
}

return M
