-- How a worker gets its app. The core requires this once, when the state is up; from then on require, os and io wait
-- instead of blocking, and requests and responses have their methods.

local app_module = require "moonpool.app"
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

--- Runs the app file (or app.lua in that folder). → handle(req, res, method, path), fail(req, res, err), hooks; raises
--- what the app file raises.
---@param path string
function M.load(path)
  local file, folder, name = locate(path)
  core.app_folder = core.guest and folder or nil
  add_paths(folder)
  secret.configured() -- one that is none ends the boot, not the first login
  local target = load_body(file, name)()
  if not app_module.is_app(target) and not app_module.is_callable(target) then
    error(("%s: an app file must return an app or a function(req, res), got %s"):format(name, type(target)), 0)
  end
  local handle, fail, hooks = dispatch.build(target)
  local on_stop = hooks.on_stop
  function hooks.on_stop()
    local _ <close> = setmetatable({}, { __close = function() standard_output:flush() end })
    on_stop()
  end
  return handle, fail, hooks
end

return M
