-- A client for tests: of an app in this process, whose requests go through the whole of HTTP without a socket that
-- listens, or of a server somewhere.

local app_module = require "moonpool.app"
local appfile = require "moonpool.appfile"
local blocks = require "moonpool.test.block"
local check = require "moonpool.test.check"
local core = require "moonpool.core"
local dispatch = require "moonpool.dispatch"
local http = require "moonpool.test.http"
local jar = require "moonpool.test.jar"
local responses = require "moonpool.test.response"
local trial = core.trial

local M = {}
local methods = {}
local metatable = { __index = methods, __name = "moonpool.test.client" }

local MOST_REDIRECTS = 20
local REMOTE = { "127.0.0.1", 40000 }

---- one request on its way

local Request = { __name = "moonpool.test.request" }
Request.__index = Request

--- Hangs up. What the server still does for it is cancelled, as for any client that goes away.
function Request:close()
  self.wire:close()
  self.client._open[self] = nil
end
Request.disconnect = Request.close
Request.__close = Request.close

--- A piece of the body, of a request that was begun with stream = true.
function Request:write(bytes)
  check.type("write: the piece", bytes, "string")
  return self.wire:write(bytes ~= "" and http.chunk(bytes) or "")
end

--- The end of such a body.
function Request:finish()
  return self.wire:write(http.chunk "")
end

--- The answer, once its head is there. Raises when the connection was cut before.
function Request:response()
  if not self.answer then
    local ok, head = pcall(http.read_head, self.reader)
    if not ok then
      self:close()
      error(("%s %s: %s"):format(self.method, self.target, head), 2)
    end
    self.answer = responses.new(self, head)
  end
  return self.answer
end

---- what is sent

local OPTIONS = {
  headers = "table", body = "string function", json = "any", form = "table", files = "table", query = "table",
  follow = "boolean", stream = "boolean", cookies = "table",
}
local BODIES = { "body", "json", "form" }

local function check_request(what, path, options, level)
  check.type(what .. ": the path", path, "string", level + 1)
  if path:sub(1, 1) ~= "/" and path ~= "*" then
    error(("%s: the path must begin with a slash, got %q"):format(what, path), level + 1)
  end
  local json = type(options) == "table" and options.json
  if json ~= nil and json then
    local others = {}
    for name, value in pairs(options) do
      others[name] = name ~= "json" and value or nil
    end
    check.options(what, others, OPTIONS, level + 1)
  else
    options = check.options(what, options, OPTIONS, level + 1)
  end
  local given = {}
  for _, name in ipairs(BODIES) do
    given[#given + 1] = options[name] ~= nil and name or nil
  end
  if #given > 1 then
    error(("%s: %s and %s exclude each other"):format(what, given[1], given[2]), level + 1)
  end
  return options
end

-- → the bytes or function of a body, its type; nil for none
local function body_of(options)
  if options.files then
    local bytes, kind = http.multipart(options.form or {}, options.files)
    return bytes, kind
  elseif options.form then
    return http.encode_pairs(options.form), "application/x-www-form-urlencoded"
  elseif options.json ~= nil then
    return core.json.encode(options.json), "application/json"
  end
  return options.body, nil
end

local function find_field(fields, name)
  for _, field in ipairs(fields) do
    if field[1]:lower() == name then
      return field
    end
  end
end

-- headers: name → value or a list of values, the request's before the client's own.
local function collect_fields(client, options)
  local fields = {}
  for _, headers in ipairs { options.headers or {}, client.headers } do
    local known = {}
    for _, field in ipairs(fields) do
      known[field[1]:lower()] = true
    end
    for name, value in pairs(headers) do
      for _, one in ipairs(type(value) == "table" and value or { value }) do
        if not known[name:lower()] then
          table.insert(fields, { name, one })
        end
      end
    end
  end
  table.sort(fields, function(a, b) return a[1] < b[1] end)
  return fields
end

local function add_cookies(client, options, fields, url)
  local parts = { client.jar:field(url) }
  for name, value in pairs(options.cookies or {}) do
    parts[#parts + 1] = name .. "=" .. core.url_encode(tostring(value))
  end
  if parts[1] and not find_field(fields, "cookie") then
    table.insert(fields, { "Cookie", table.concat(parts, "; ") })
  end
end

local function add_default(fields, name, value)
  if value and not find_field(fields, name:lower()) then
    table.insert(fields, { name, value })
  end
end

local function target_of(path, query)
  if not query or not next(query) then
    return path
  end
  return path .. (path:find("?", 1, true) and "&" or "?") .. http.encode_pairs(query)
end

local function send_pieces(request, body)
  for piece in body do
    if not request:write(piece) then
      return
    end
  end
  request:finish()
end

-- Sends it; the answer is read by whoever asks.
local function send(client, method, path, options)
  local target = target_of(path, options.query)
  local body, kind = body_of(options)
  local fields = collect_fields(client, options)
  local host = find_field(fields, "host")
  local url = { host = (host and host[2] or client.host):gsub(":%d+$", ""):lower(), secure = client.secure,
    path = target:match("^[^?]*") }
  table.insert(fields, 1, host or { "Host", client.host })
  if host then
    for i = #fields, 2, -1 do
      if fields[i] == host then table.remove(fields, i) end
    end
  end
  add_cookies(client, options, fields, url)
  add_default(fields, "Content-Type", kind)
  if options.stream or type(body) == "function" then
    add_default(fields, "Transfer-Encoding", "chunked")
  elseif body then
    add_default(fields, "Content-Length", #body)
  end
  local wire = client._connect()
  local request = setmetatable({ client = client, wire = wire, reader = http.reader(wire), method = method,
    target = target, url = url }, Request)
  client._open[request] = true
  wire:write(http.head(method, target, fields) .. (type(body) == "string" and body or ""))
  if type(body) == "function" then
    send_pieces(request, body)
  end
  return request
end

---- redirects

local REDIRECTS = { [301] = true, [302] = true, [303] = true, [307] = true, [308] = true }

-- The path of a Location, seen from `base`; nil when it leads to somebody else.
local function path_of(client, location, base)
  local host, rest = location:match("^https?://([^/?#]*)(.*)$")
  if host and host:lower() ~= client.host:lower() then
    return nil
  end
  local path = (host and rest or location):gsub("#.*$", "")
  if path == "" then
    return host and "/" or base
  elseif path:sub(1, 1) == "/" then
    return path
  elseif path:sub(1, 1) == "?" then
    return base:match("^[^?]*") .. path
  end
  return (base:match("^([^?]*/)") or "/") .. path
end

-- GET instead of what was sent, as browsers do it; 307 and 308 send the same again.
local function next_request(response, method, options)
  if response.status == 307 or response.status == 308 or method == "HEAD" then
    return method, options
  end
  if response.status ~= 303 and method ~= "POST" then
    return method, options
  end
  return "GET", { headers = options.headers, cookies = options.cookies }
end

local function follow(client, response, method, options)
  local count = 0
  while REDIRECTS[response.status] and response.headers.location do
    local path = path_of(client, response.headers.location, response.path)
    if not path then
      break
    end
    count = count + 1
    if count > MOST_REDIRECTS then
      error("the redirects have no end: " .. path, 3)
    end
    response:close()
    method, options = next_request(response, method, options)
    options = setmetatable({ query = false }, { __index = options })
    response = send(client, method, path, options):response()
    response.redirects = count
  end
  return response
end

---- methods

--- client:send(method, path[, options]) → the request, its answer not awaited: response(), write(), finish(),
--- disconnect().
function methods.send(client, method, path, options)
  check.type("send: the method", method, "string")
  return send(client, method, path, check_request("send", path, options, 2))
end

local function is_stream(response)
  return (response.headers["content-type"] or ""):find("^text/event%-stream") ~= nil
end

local function request(client, method, path, options)
  local response = send(client, method, path, options):response()
  local follows = options.follow
  if follows == nil then
    follows = client.follow
  end
  if follows then
    response = follow(client, response, method, options)
  end
  if not options.stream and not is_stream(response) then
    response:_text()
  end
  return response
end

--- client:request(method, path[, options]) → the answer: whole, or its head alone of an event stream or with
--- stream = true.
function methods.request(client, method, path, options)
  check.type("request: the method", method, "string")
  return request(client, method, path, check_request("request", path, options, 2))
end

for _, word in ipairs { "get", "post", "put", "patch", "delete", "head", "options" } do
  methods[word] = function(client, path, options)
    options = check_request(word, path, options, 2)
    local streams = options.stream
    if streams then -- of the answer: nothing is sent beside the head
      options = setmetatable({ stream = false }, { __index = options })
      local response = send(client, word:upper(), path, options):response()
      return response
    end
    return request(client, word:upper(), path, options)
  end
end

--- Hangs up on every request that is under way.
function methods.disconnect(client)
  for each in pairs(client._open) do
    each:close()
  end
end

--- Ends it, and the app that was opened for it: what runs is cancelled, then on_stop runs. Also by `<close>`, and at
--- the end of the test.
function methods.close(client)
  client._close()
end

metatable.__close = methods.close

function metatable.__tostring(client)
  return "client of " .. client.name
end

local function new(name, host, options, connect)
  return setmetatable({ name = name, host = options.host or host, headers = options.headers or {},
    follow = options.follow or false, secure = options.secure or false, jar = jar.new(), errors = {}, _open = {},
    _connect = connect }, metatable)
end

function methods.cookies(client)
  return client.jar:values()
end

---- a server somewhere

local REMOTE_OPTIONS = { host = "string", headers = "table", follow = "boolean", secure = "boolean" }

function M.remote(url, options, level)
  options = check.options("client", options, REMOTE_OPTIONS, level + 1)
  local host, port = url:match("^http://([^/:]+):?(%d*)/?$")
  local path = url:match("^unix:(.+)$")
  if not host and not path then
    error(("client: the url must be http://ADDRESS:PORT or unix:PATH, got %q"):format(url), level + 1)
  end
  local address = path or (host == "localhost" and "127.0.0.1" or host)
  port = not path and tonumber(port) or (not path and 80 or nil)
  local client = new(url, path and "localhost" or host .. ":" .. port, options, function()
    local wire, message = trial.connect(address, port)
    return wire or error(message, 3)
  end)
  client._close = blocks.on_close(function()
    client:disconnect()
  end)
  return client
end

---- an app in here

local APP_OPTIONS = {
  host = "string", headers = "table", follow = "boolean", secure = "boolean", strict = "boolean", remote = "string",
  max_body = "number", request_timeout = "number", body_timeout = "number", compress = "boolean",
}

-- Modules that the app's file requires are loaded anew for each client, as a worker loads them; those that the spec has
-- required stay the same for both.
local function forget_modules(before, folder)
  for name in pairs(package.loaded) do
    local file = not before[name] and not name:find("^moonpool") and package.searchpath(name, folder .. "?.lua;" ..
      folder .. "?/init.lua;" .. folder .. "lua/?.lua;" .. folder .. "lua/?/init.lua")
    if file then
      package.loaded[name] = nil
    end
  end
end

local function copy(t)
  local other = {}
  for key, value in pairs(t) do
    other[key] = value
  end
  return other
end

-- A worker runs in its app's folder, and finds modules there. Of several that are open the latest has its way.
local root, open_folders, base = nil, {}, nil

local function settle_in()
  local latest = open_folders[#open_folders]
  base = base or { path = package.path, cpath = package.cpath }
  package.path, package.cpath = base.path, base.cpath
  for _, each in ipairs(open_folders) do
    appfile.add_paths(each.folder)
  end
  if not latest then
    base = nil
  end
  return trial.chdir(latest and latest.folder or root)
end

--- The project's folder, wherever an app has led.
function M.root()
  return open_folders[1] and root or trial.getcwd()
end

local function move_in(folder)
  local entry, before = { folder = folder }, copy(package.loaded)
  root = M.root()
  table.insert(open_folders, entry)
  local ok, message = settle_in()
  return function()
    for i, each in ipairs(open_folders) do
      if each == entry then
        table.remove(open_folders, i)
        break
      end
    end
    settle_in()
    forget_modules(before, folder)
  end, not ok and message or nil
end

-- → the app, and what undoes it. Paths are seen from the project's folder.
local function load_file(path, level)
  if path:sub(1, 1) ~= "/" then
    path = M.root() .. "/" .. path:gsub("^%./", "")
  end
  local file, folder, name = appfile.locate(path)
  local undo, message = move_in(folder)
  if message then
    undo()
    error("client: " .. message, level + 1)
  end
  local loaded, app = pcall(appfile.run, file, name)
  if not loaded then
    undo()
    error(app, 0)
  end
  return app, undo
end

-- What on_error is told of, the test can look at. Errors of handlers are answers too, so that a test sees them there;
-- of the others nobody would hear.
local function hear_errors(client, hooks, strict)
  local block, told = blocks.current(), hooks.on_error
  function hooks.on_error(err, traceback, what)
    local of_handler = what.kind == "handler"
    table.insert(client.errors, { error = err, traceback = traceback, kind = what.kind, request = what.request,
      request_id = what.request_id, spawned_at = what.spawned_at, what = what })
    if strict or strict == nil and not of_handler then
      blocks.note(block, err, traceback, what)
    end
    return told(err, traceback, what)
  end
end

local function run(realm, fn)
  core.wait(realm:spawn(fn))
end

local function close_app(client, realm, hooks, undo)
  client:disconnect()
  trial.settle()
  realm:stop()
  local ok, err = pcall(run, realm, hooks.on_stop)
  realm:stop()
  realm:close()
  if undo then
    undo()
  end
  if not ok then
    error(err, 0)
  end
end

function M.app(target, options, level)
  options = check.options("client", options, APP_OPTIONS, level + 1)
  local undo
  local name = type(target) == "string" and target or "an app"
  if type(target) == "string" then
    target, undo = load_file(target, level + 1)
  elseif not app_module.is_app(target) and not app_module.is_callable(target) then
    error("client: the app must be a path, an app or a function(req, res), got " .. type(target), level + 1)
  end
  local realm = trial.realm(true)
  local remote, port = options.remote or REMOTE[1], REMOTE[2]
  local client = new(name, "localhost", options, function()
    return realm:connect(remote, port)
  end)
  local handle, fail, hooks = dispatch.build(target, realm:routes())
  hear_errors(client, hooks, options.strict)
  realm:answer(handle, fail, hooks)
  realm:serve { max_body = options.max_body, request_timeout = options.request_timeout,
    body_timeout = options.body_timeout, compress = options.compress }
  client._close = blocks.on_close(function()
    close_app(client, realm, hooks, undo)
  end)
  local ok, err = pcall(run, realm, hooks.on_start)
  if not ok then
    client._close()
    error(err, 0)
  end
  return client
end

return M
