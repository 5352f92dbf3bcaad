-- CORS: which other sites' pages may read the answers (WHATWG Fetch, 3.2).

local read_options = require("moonpool.options").read
local vary = require "moonpool.vary"

local M = {}

local KNOWN = { origins = { "*", "strings", "callable" }, methods = "strings", headers = { "*", "strings" },
  expose = "strings", credentials = "boolean", max_age = "seconds" }
local DEFAULTS = { methods = { "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE" }, headers = {}, expose = {},
  credentials = false }
local TOKEN = "^[%w!#$%%&'*+%-.^_`|~]+$"

local function set_of(list)
  local set = {}
  for _, item in ipairs(list) do
    set[item] = true
  end
  return set
end

local function check_tokens(list, what)
  for _, item in ipairs(list) do
    if not item:find(TOKEN) then
      error(("cors: %s: %q is no token"):format(what, item), 4)
    end
  end
end

-- An origin is compared byte by byte: a slash at its end, or a path, would never be equal.
local function check_origins(origins)
  for _, origin in ipairs(origins) do
    if origin ~= "null" and not origin:find "^%l[%w+.-]*://[^/%s]+$" then
      error(("cors: origins: %q is no origin, as in \"https://example.org\""):format(origin), 4)
    end
  end
end

local function read(given)
  local options = read_options("cors", given, KNOWN, DEFAULTS, 3)
  if options.origins == nil then
    error("cors: origins is missing: \"*\", a list of origins, or a function(origin, req)", 3)
  elseif options.origins == "*" and options.credentials then
    error("cors: origins = \"*\" with credentials would let every site act as its visitors; name the origins", 3)
  end
  if type(options.origins) == "table" and not getmetatable(options.origins) then
    check_origins(options.origins)
    options.known = set_of(options.origins)
  end
  check_tokens(options.methods, "methods")
  check_tokens(options.headers ~= "*" and options.headers or {}, "headers")
  check_tokens(options.expose, "expose")
  return options
end

local function allows(options, origin, req)
  if options.origins == "*" then
    return true
  elseif options.known then
    return options.known[origin] or false
  end
  return options.origins(origin, req) and true or false
end

local function set_common(options, res, origin)
  res:header("Access-Control-Allow-Origin", options.origins == "*" and "*" or origin)
  if options.credentials then
    res:header("Access-Control-Allow-Credentials", "true")
  end
end

-- With "*" what is asked for is said again, since the wildcard covers neither Authorization nor credentials.
local function allowed_headers(options, req)
  if options.headers ~= "*" then
    return #options.headers > 0 and table.concat(options.headers, ", ") or nil
  end
  local asked = req.headers["Access-Control-Request-Headers"]
  return asked and not asked:find "[^%w!#$%%&'*+.^_`|~, -]" and asked or nil
end

local function preflight(options, req, res, origin)
  vary.add(res, "Access-Control-Request-Method", "Access-Control-Request-Headers")
  if origin and allows(options, origin, req) then
    set_common(options, res, origin)
    res:header("Access-Control-Allow-Methods", table.concat(options.methods, ", "))
    res:header("Access-Control-Allow-Headers", allowed_headers(options, req))
    if options.max_age then
      res:header("Access-Control-Max-Age", ("%d"):format(math.floor(options.max_age)))
    end
  end
  res:status(204):finish()
end

--- cors{ origins, methods, headers, expose, credentials, max_age }
local function new(given)
  local options = read(given)
  return function(req, res, next)
    local origin = req.headers["Origin"]
    if options.origins ~= "*" then
      vary.add(res, "Origin")
    end
    if req.method == "OPTIONS" and origin and req.headers["Access-Control-Request-Method"] then
      return preflight(options, req, res, origin)
    end
    if origin and allows(options, origin, req) then
      set_common(options, res, origin)
      if #options.expose > 0 then
        res:header("Access-Control-Expose-Headers", table.concat(options.expose, ", "))
      end
    end
    next()
  end
end

return setmetatable(M, { __call = function(_, given) return new(given) end })
