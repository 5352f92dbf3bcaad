-- An app file: where it is, where its modules are, and what it gives.

local app_module = require "moonpool.app"
local core = require "moonpool.core"

local M = {}

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

--- → the app's file, its folder with a slash at the end, and its name in there
function M.locate(path)
  if core.app_file then
    return "app.lua", "./", "app.lua" -- a bundle's
  end
  if is_folder(path) then
    path = path:gsub("/*$", "/") .. "app.lua"
  end
  local folder, name = path:match("^(.*/)([^/]*)$")
  return path, folder or "./", name or path
end

-- As loadfile, but messages name the file as it is called in the app's folder.
local function load_body(path, name)
  local text, file, why = core.app_file and core.app_file(name)
  if not text then
    file, why = io.open(path, "rb")
  end
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

-- What LuaRocks has installed for this user; behind what the system has. Lua's own paths name the rest of them.
local function add_rocks(home)
  local rocks = home and home ~= "" and home .. "/.luarocks/"
  if rocks and not package.path:find(rocks, 1, true) then
    package.path = ("%s;%sshare/lua/5.4/?.lua;%sshare/lua/5.4/?/init.lua"):format(package.path, rocks, rocks)
    package.cpath = ("%s;%slib/lua/5.4/?.so"):format(package.cpath, rocks)
  end
end

--- A module of the app comes before one of the same name that is installed on the machine.
function M.add_paths(base)
  if core.app_file then
    return -- the core's searcher finds them in the bundle
  end
  package.path = table.concat({
    base .. "?.lua", base .. "?/init.lua", base .. "lua/?.lua", base .. "lua/?/init.lua",
    base .. "lua_modules/share/lua/5.4/?.lua", base .. "lua_modules/share/lua/5.4/?/init.lua", package.path,
  }, ";")
  package.cpath = table.concat({ base .. "?.so", base .. "lua_modules/lib/lua/5.4/?.so", package.cpath }, ";")
  add_rocks(os.getenv "HOME")
end

--- Runs the file. → the app, or the function(req, res); raises what the file raises.
function M.run(path, name)
  local target = load_body(path, name)()
  if not app_module.is_app(target) and not app_module.is_callable(target) then
    error(("%s: an app file must return an app or a function(req, res), got %s"):format(name, type(target)), 0)
  end
  return target
end

return M
