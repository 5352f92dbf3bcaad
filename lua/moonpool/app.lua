-- What an app file defines: routes, middleware, mounts, pages and hooks. How a request finds its way through them is
-- told in dispatch.lua; here they are taken in, and checked at the door.

local core = require "moonpool.core"
local later = require "moonpool.later"
local router = require "moonpool.router"

local group = later "moonpool.group"
local template = later "moonpool.template"

local M = {}
local methods = {}

local metatable = { __index = methods, __name = "moonpool.app" }

function M.is_app(value)
  return getmetatable(value) == metatable
end

function M.is_callable(value)
  if type(value) == "function" then
    return true
  end
  local mt = getmetatable(value)
  return type(mt) == "table" and type(mt.__call) == "function"
end

--- A new app, with nothing in it.
function M.new()
  return setmetatable({
    _router = router.new(),
    _layers = {},        -- middleware, in order: { prefix = segments, fn, where }
    _mounts = {},        -- in order: { prefix, segments, target, app }
    _names = {},         -- of routes
    _hooks = { start = {}, stop = {}, error = {} },
    _parents = {},       -- the apps that this one is mounted in
    _error_page = nil,
    _templates = nil,
    _changed = nil,      -- called when something is added: dispatch has to look again
  }, metatable)
end

local function changed(app)
  if app._changed then
    app._changed()
  end
  for _, parent in ipairs(app._parents) do
    changed(parent)
  end
end

-- Where the app file called one of the methods below: `level` as seen from the method.
local function caller(level)
  local info = debug.getinfo(level + 1, "Sl")
  return info and ("%s:%d"):format(info.short_src, info.currentline) or "?"
end

local function check_app(app, name, level)
  if not M.is_app(app) then
    error(("app:%s: call it with a colon, on an app (got %s)"):format(name, type(app)), level + 1)
  end
end

local function check_callable(value, what, level)
  if not M.is_callable(value) then
    error(("%s must be a function, got %s"):format(what, type(value)), level + 1)
  end
end

local function check_string(value, what, level)
  if type(value) ~= "string" then
    error(("%s must be a string, got %s"):format(what, type(value)), level + 1)
  end
end

local OPTIONS = {
  name = function(v) return type(v) == "string" and v ~= "", "a string" end,
  max_body = function(v) return type(v) == "number" and v >= 0, "a number of bytes" end,
  timeout = function(v) return type(v) == "number" and v >= 0, "a number of seconds" end,
  keep = function(v) return type(v) == "boolean", "true or false" end,
}

local function check_options(known, options, what, names, level)
  local read = {}
  for key, value in pairs(options) do
    local check = known[key]
    if not check then
      error(("%s: unknown option %q (there are %s)"):format(what, tostring(key), names), level + 1)
    end
    local ok, wanted = check(value)
    if not ok then
      error(("%s: %s must be %s, got %s"):format(what, key, wanted, tostring(value)), level + 1)
    end
    read[key] = value
  end
  return read
end

-- [options,] handler… → a route; the last handler answers, those before it are its middleware.
local function read_route(what, level, method, pattern, ...)
  local first, from = ..., 1
  local route = { method = method, pattern = pattern, options = {}, steps = {} }
  if type(first) == "table" and not M.is_callable(first) then
    route.options = check_options(OPTIONS, first, what, "name, max_body, timeout, keep", level + 1)
    from = 2
  end
  local n = select("#", ...)
  if n < from then
    error(what .. ": a handler is missing", level + 1)
  end
  for i = from, n do
    local handler = select(i, ...)
    check_callable(handler, ("%s: handler %d"):format(what, i - from + 1), level + 1)
    route.steps[#route.steps + 1] = handler
  end
  return route
end

local function check_name(app, route, what, level)
  local name = route.options.name
  local other = name and app._names[name]
  if other then
    error(("%s: the name %q is taken by %s (%s)"):format(what, name, other.pattern, other.where), level + 1)
  end
end

local function add_route(app, word, method, pattern, ...)
  check_app(app, word, 3)
  local what = "app:" .. word
  check_string(pattern, what .. ": the pattern", 3)
  what = ("%s(%q)"):format(what, pattern)
  local route = read_route(what, 3, method, pattern, ...)
  route.where = caller(3)
  check_name(app, route, what, 3)
  local ok, why, there = app._router:add(route)
  if not ok then
    error(("%s: %s%s"):format(what, why, there and (", at " .. there.where) or ""), 3)
  end
  if route.options.name then
    app._names[route.options.name] = route
  end
  if route.options.max_body then
    core.expect_body(route.options.max_body)
  end
  changed(app)
end

for _, method in ipairs(router.METHODS) do
  local word = method:lower()
  methods[word] = function(app, pattern, ...)
    add_route(app, word, method, pattern, ...)
    return app
  end
end

--- A route for every method that has none of its own.
function methods.any(app, pattern, ...)
  add_route(app, "any", router.ANY, pattern, ...)
  return app
end

-- Where a function was defined: what an error about it names.
function M.home(fn)
  if type(fn) ~= "function" then
    fn = getmetatable(fn).__call
  end
  local info = debug.getinfo(fn, "S")
  return ("%s:%d"):format(info.short_src, info.linedefined)
end

--- app:use([prefix,] fn): middleware, function(req, res, next).
function methods.use(app, prefix, fn)
  check_app(app, "use", 2)
  if fn == nil then
    prefix, fn = "/", prefix
  end
  check_string(prefix, "app:use: the prefix", 2)
  check_callable(fn, "app:use: the middleware", 2)
  local segments, why = router.parse_prefix(prefix)
  if not segments then
    error("app:use: " .. why, 2)
  end
  app._layers[#app._layers + 1] = { prefix = segments, fn = fn, where = M.home(fn) }
  changed(app)
  return app
end

--- app:group(prefix[, middleware…], function(group)): routes with a prefix and middleware of their own.
function methods.group(app, ...)
  check_app(app, "group", 2)
  return group.open(app, ...)
end

local function is_below(app, wanted)
  for _, mount in ipairs(app._mounts) do
    if mount.app and (mount.app == wanted or is_below(mount.app, wanted)) then
      return true
    end
  end
  return false
end

--- app:mount(prefix, app2 or function): everything there and below is its.
function methods.mount(app, prefix, target)
  check_app(app, "mount", 2)
  check_string(prefix, "app:mount: the prefix", 2)
  local child = M.is_app(target) and target or nil
  if not child and not M.is_callable(target) then
    error(("app:mount(%q): wants an app or a function(req, res), got %s"):format(prefix, type(target)), 2)
  elseif child and (child == app or is_below(child, app)) then
    error(("app:mount(%q): an app cannot be mounted below itself"):format(prefix), 2)
  end
  local mount = { prefix = prefix, target = target, app = child }
  local ok, why = app._router:add_mount(prefix, mount)
  if not ok then
    error(("app:mount(%q): %s"):format(prefix, why), 2)
  end
  app._mounts[#app._mounts + 1] = mount
  if child then
    table.insert(child._parents, app)
  end
  changed(app)
  return app
end

local FOLDER_OPTIONS = {
  index = function(v) return v == false or type(v) == "string" and not v:find "[/%z]" and v ~= "" and v ~= "..",
    "the name of a file, or false" end,
  max_age = function(v) return type(v) == "number" and v >= 0 and v <= 1e10, "a number of seconds" end,
  fallback = function(v) return type(v) == "string" and v ~= "" and not v:find "%z", "the name of a file" end,
  dotfiles = function(v) return type(v) == "boolean", "true or false" end,
}

-- In the bundle, when the app came in one; else on the disk.
local function is_folder(path)
  return core.is_app_folder and core.is_app_folder(path) or core.is_folder(path)
end

--- app:static(prefix, folder[, { index, max_age, fallback, dotfiles }]): files, for what no route takes.
---@param prefix string
---@param folder string
---@param options { index?: string|false, max_age?: number, fallback?: string, dotfiles?: boolean }?
function methods.static(app, prefix, folder, options)
  check_app(app, "static", 2)
  check_string(prefix, "app:static: the prefix", 2)
  local what = ("app:static(%q)"):format(prefix)
  check_string(folder, what .. ": the folder", 2)
  if core.app_folder and folder:sub(1, 1) ~= "/" then
    folder = core.app_folder .. folder -- inside a program, whose own folder may be any
  end
  if options ~= nil and type(options) ~= "table" then
    error(("%s: options must be a table, got %s"):format(what, type(options)), 2)
  elseif folder:find("\0", 1, true) or not is_folder(folder) then
    error(("%s: %s is no folder"):format(what, folder), 2)
  end
  local read = check_options(FOLDER_OPTIONS, options or {}, what, "index, max_age, fallback, dotfiles", 2)
  local ok, why = app._router:add_folder(prefix, {
    root = folder,
    index = read.index == nil and "index.html" or read.index,
    max_age = read.max_age and math.floor(read.max_age) or -1,
    fallback = read.fallback,
    dotfiles = read.dotfiles or false,
  })
  if not ok then
    error(("%s: %s"):format(what, why), 2)
  end
  changed(app)
  return app
end

--- app:templates(folder[, { reload, globals }]): what res:render takes, here and in apps mounted here that name none.
---@param folder string
---@param options { reload?: boolean, globals?: table }?
function methods.templates(app, folder, options)
  check_app(app, "templates", 2)
  local set = template._new_set("app:templates", folder, options, 2)
  if not is_folder(folder) then
    error(("app:templates: %s is no folder"):format(folder), 2)
  end
  app._templates = set
  changed(app)
  return app
end

--- app:error_page(function(req, res, e)): writes every error answer of this app.
function methods.error_page(app, page)
  check_app(app, "error_page", 2)
  check_callable(page, "app:error_page: the page", 2)
  app._error_page = page
  return app
end

local function add_hook(app, kind, fn)
  check_app(app, "on_" .. kind, 3)
  check_callable(fn, ("app:on_%s: its argument"):format(kind), 3)
  table.insert(app._hooks[kind], fn)
end

function methods.on_start(app, fn)
  add_hook(app, "start", fn)
  return app
end

function methods.on_stop(app, fn)
  add_hook(app, "stop", fn)
  return app
end

--- app:on_error(function(err, traceback, what)): told once of every error that nobody took.
function methods.on_error(app, fn)
  add_hook(app, "error", fn)
  return app
end

-- The route with that name here, or in what is mounted here, and the path in front of it.
local function find_name(app, name)
  local route = app._names[name]
  if route then
    return route, ""
  end
  for _, mount in ipairs(app._mounts) do
    if mount.app then
      local found, base = find_name(mount.app, name)
      if found then
        return found, M.base(mount) .. base
      end
    end
  end
end

-- "/admin" for what is mounted at "/admin/": what stands before its own patterns.
function M.base(mount)
  local base = ""
  for _, segment in ipairs(mount.segments) do
    base = base .. "/" .. segment
  end
  return base
end

-- What stands before an app's patterns where it is mounted; where it is mounted twice, the first place.
local function own_base(app)
  local parent = app._parents[1]
  if not parent then
    return ""
  end
  for _, mount in ipairs(parent._mounts) do
    if mount.app == app then
      return own_base(parent) .. M.base(mount)
    end
  end
end

local function text_of(value, key, what, level)
  local kind = type(value)
  if kind ~= "string" and kind ~= "number" then
    error(("%s: %s must be a string or a number, got %s"):format(what, key, kind), level + 1)
  end
  return math.type(value) == "float" and ("%.14g"):format(value) or tostring(value)
end

local function encode_path(text)
  return (text:gsub("[^/]+", core.url_encode))
end

local function fill_segment(segment, params, what, level)
  if segment.kind == "literal" then
    return encode_path(segment.text)
  end
  local value = text_of(params[segment.text], segment.text, what, level + 1)
  if segment.kind == "rest" then
    return encode_path(value)
  elseif value == "" then
    error(("%s: %s may not be empty"):format(what, segment.text), level + 1)
  end
  return core.url_encode(value)
end

local function query_of(route, params, what, level)
  local is_param, keys, parts = {}, {}, {}
  for _, name in ipairs(route.names) do
    is_param[name] = true
  end
  for key in pairs(params) do
    if type(key) ~= "string" then
      error(("%s: the names of params are strings, got %s"):format(what, tostring(key)), level + 1)
    elseif not is_param[key] then
      keys[#keys + 1] = key
    end
  end
  table.sort(keys)
  for i, key in ipairs(keys) do
    parts[i] = core.url_encode(key) .. "=" .. core.url_encode(text_of(params[key], key, what, level + 1))
  end
  return #parts > 0 and "?" .. table.concat(parts, "&") or ""
end

local function merged(params, query, what)
  if query == nil then
    return params
  elseif type(query) ~= "table" then
    error(("%s: the query must be a table, got %s"):format(what, type(query)), 3)
  end
  local all = {}
  for key, value in pairs(params) do
    all[key] = value
  end
  for key, value in pairs(query) do
    if all[key] ~= nil then
      error(("%s: %s is in the params and in the query"):format(what, tostring(key)), 3)
    end
    all[key] = value
  end
  return all
end

--- The path of the route with that name; what `params` and `query` hold beyond its parameters becomes the query.
---@param name string
---@param params table<string, string|number>?
---@param query table<string, string|number>?
---@return string
function methods.url(app, name, params, query)
  check_app(app, "url", 2)
  check_string(name, "app:url: the name", 2)
  local what = ("app:url(%q)"):format(name)
  if params ~= nil and type(params) ~= "table" then
    error(("%s: params must be a table, got %s"):format(what, type(params)), 2)
  end
  params = merged(params or {}, query, what)
  local route, below = find_name(app, name)
  if not route then
    error(what .. ": no route has that name", 2)
  end
  local path = encode_path(own_base(app) .. below)
  for _, segment in ipairs(route.segments) do
    path = path .. "/" .. fill_segment(segment, params, what, 2)
  end
  return path .. query_of(route, params, what, 2)
end

return M
