-- moonpool.test: what a spec needs beside busted. It works under `moonpool test`.

local core = require "moonpool.core"

if not core.trial then
  error("moonpool.test is for specs: run them by `moonpool test`", 0)
end

local clients = require "moonpool.test.client"
local clocks = require "moonpool.test.clock"
local processes = require "moonpool.test.process"
local servers = require "moonpool.test.server"

local M = {}

--- test.client([app or url][, options]) → a client, with an app of its own or for a server.
function M.client(app, options)
  app = app == nil and "app.lua" or app
  if type(app) == "string" and (app:find("^https?://") or app:find("^unix:")) then
    return clients.remote(app, options, 2)
  end
  return clients.app(app, options, 2)
end

--- test.clock([{ time }]) → a clock that stands until it is moved.
function M.clock(options)
  return clocks.new(options, 2)
end

--- test.process(name[, answer[, options]]) → what is called with that name is played.
function M.process(name, answer, options)
  return processes.new(name, answer, options, 2)
end

--- Processes that are not faked raise from here on.
M.only_fakes = processes.only_fakes

--- test.server([{ app, args, workers, env, timeout }]) → the real server, on a free port.
function M.server(options)
  return servers.new(options, 2)
end

--- Returns when nothing more happens by itself.
function M.settle()
  core.trial.settle()
end

return M
