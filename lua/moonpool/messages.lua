-- What Lua adds to the methods of requests and responses.

local core = require "moonpool.core"
local later = require "moonpool.later"

local cookie = later "moonpool.cookie"
local cookies = later "moonpool.cookies"
local form = later "moonpool.form"
local sse = later "moonpool.sse"
local template = later "moonpool.template"
local validate = later "moonpool.validate"

local request, response = core.request, core.response

local REDIRECTS = { [301] = true, [302] = true, [303] = true, [307] = true, [308] = true }

-- As if the function were the method: a tail call, so that what it says of its caller is true.
local function of(module, name)
  return function(...)
    return module[name](...)
  end
end

request.form = of(form, "form")
request.form_list = of(form, "form_list")
request.parts = of(form, "parts")
request.save = of(form, "save")
response.render = of(template, "_respond")
response.sse = of(sse, "open")

--- req:cookie(name): its value, or nil.
---@param name string
---@return string?
function request.cookie(req, name)
  if type(name) ~= "string" then
    error("cookie: the name must be a string, got " .. type(name), 2)
  end
  return cookie.find(req.headers["Cookie"], name)
end

--- res:cookie(name, value[, { path, http_only, same_site, secure, max_age, domain }])
function response.cookie(res, name, value, options)
  return res:add_header("Set-Cookie", cookie.format(name, value, options, 2))
end

local function check_name(name, what)
  if type(name) ~= "string" then
    error(what .. ": the name must be a string, got " .. type(name), 3)
  end
end

--- req:signed_cookie(name[, { keys }]): the value that res:signed_cookie was given, or nil.
function request.signed_cookie(req, name, options)
  check_name(name, "signed_cookie")
  return cookies._first(req.headers["Cookie"], name, cookies.verify, options)
end

--- req:encrypted_cookie(name[, { keys }]): likewise.
function request.encrypted_cookie(req, name, options)
  check_name(name, "encrypted_cookie")
  return cookies._first(req.headers["Cookie"], name, cookies.open, options)
end

--- res:signed_cookie(name, value[, options of res:cookie, and keys]): with max_age it is worth nothing after that.
function response.signed_cookie(res, name, value, options)
  return res:add_header("Set-Cookie", cookies._field(cookies.sign, name, value, options, 2))
end

--- res:encrypted_cookie(name, value[, options]): likewise, and the client cannot read it.
function response.encrypted_cookie(res, name, value, options)
  return res:add_header("Set-Cookie", cookies._field(cookies.seal, name, value, options, 2))
end

--- req:validate(schema[, source]): the values that it describes; raises 422 where they are not so.
function request.validate(req, schema, source)
  return (validate._request(req, schema, source))
end

-- What a URI cannot hold as it is (RFC 3986), escaped; the escapes that are there stay.
local function escape_location(url)
  return (url:gsub("[^%w%-._~:/?#%[%]@!$&'()*+,;=%%]", function(c)
    return ("%%%02X"):format(c:byte())
  end))
end

--- res:redirect(url[, status = 302]): ends the response.
---@param url string
---@param status integer?
function response.redirect(res, url, status)
  status = status or 302
  if type(url) ~= "string" or url == "" then
    error("redirect: the url must be a string, got " .. (url == "" and "an empty one" or type(url)), 2)
  elseif url:find("[\r\n\0]") then
    error("redirect: the url holds CR, LF or NUL", 2)
  elseif not REDIRECTS[status] then
    error("redirect: the status must be 301, 302, 303, 307 or 308, got " .. tostring(status), 2)
  end
  res:status(status):header("Location", escape_location(url)):finish()
end

return true
