-- How a worker gets its app. The core requires this once, when the state is up; from then on require, os and io wait
-- instead of blocking, and requests and responses have their methods.

local appfile = require "moonpool.appfile"
local core = require "moonpool.core"
local dispatch = require "moonpool.dispatch"
local osio = require "moonpool.osio"
local secret = require "moonpool.secret"
local yielding = require "moonpool.require"
require "moonpool.messages"

local M = {}

local standard_output
print, standard_output = osio.install(io, os)
require = yielding.require

local function load_app(path)
  local file, folder, name = appfile.locate(path)
  core.app_folder = core.guest and folder or nil
  appfile.add_paths(folder)
  secret.configured() -- one that is none ends the boot, not the first login
  local target = appfile.run(file, name)
  local handle, fail, hooks = dispatch.build(target)
  local on_stop = hooks.on_stop
  function hooks.on_stop()
    local _ <close> = setmetatable({}, { __close = function() standard_output:flush() end })
    on_stop()
  end
  return handle, fail, hooks
end

--- Runs the app file (or app.lua in that folder). → handle(req, res, method, path), fail(req, res, err), hooks; raises
--- what the app file raises.
---@param path string
function M.load(path)
  if core.dev then
    return require("moonpool.dev").load(load_app, path)
  end
  return load_app(path)
end

return M
