-- How a worker gets its app. The core requires this once, when the state is up; from then on require, os and io wait
-- instead of blocking, and requests and responses have their methods.

local app_module = require "moonpool.app"
local core = require "moonpool.core"
local dispatch = require "moonpool.dispatch"
local osio = require "moonpool.osio"
local yielding = require "moonpool.require"
require "moonpool.messages"

local M = {}

local standard_output
print, standard_output = osio.install(io, os)
require = yielding.require

-- A folder can be opened for reading, but not be read.
local function is_folder(path)
  local file = io.open(path, "rb")
  if not file then
    return false
  end
  local _, _, errno = file:read(0)
  file:close()
  return errno == 21 -- EISDIR
end

-- → the app's file, its folder with a slash at the end, and its name in there
local function locate(path)
  if is_folder(path) then
    path = path:gsub("/*$", "/") .. "app.lua"
  end
  local folder, name = path:match("^(.*/)([^/]*)$")
  return path, folder or "./", name or path
end

-- As loadfile, but messages name the file as it is called in the app's folder.
local function load_body(path, name)
  local file, why = io.open(path, "rb")
  local text
  if file then
    text, why = file:read("a")
    file:close()
  end
  if not text then
    error("cannot read the app: " .. (why:find(path, 1, true) and why or path .. ": " .. why), 0)
  end
  local body, message = load(text:gsub("^\u{FEFF}", ""):gsub("^#[^\n]*", ""), "@" .. name)
  if not body then
    error(message, 0)
  end
  return body
end

-- A module of the app comes before one of the same name that is installed on the machine.
local function add_paths(base)
  package.path = table.concat({
    base .. "?.lua", base .. "?/init.lua", base .. "lua/?.lua", base .. "lua/?/init.lua",
    base .. "lua_modules/share/lua/5.4/?.lua", base .. "lua_modules/share/lua/5.4/?/init.lua", package.path,
  }, ";")
  package.cpath = table.concat({ base .. "?.so", base .. "lua_modules/lib/lua/5.4/?.so", package.cpath }, ";")
end

-- In a bundle the app is a file of it, and its modules are found by a searcher of the core's.
local function load_bundled()
  local text = core.app_file "app.lua"
  local body, message = load(text:gsub("^\u{FEFF}", ""):gsub("^#[^\n]*", ""), "@app.lua")
  if not body then
    error(message, 0)
  end
  return body, "app.lua"
end

local function load_from_disk(path)
  local file, folder, name = locate(path)
  add_paths(folder)
  return load_body(file, name), name
end

--- Runs the app file (or app.lua in that folder). → handle(req, res, method, path), fail(req, res, err), hooks; raises
--- what the app file raises.
---@param path string
function M.load(path)
  local body, name
  if core.app_file then
    body, name = load_bundled()
  else
    body, name = load_from_disk(path)
  end
  local target = body()
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
