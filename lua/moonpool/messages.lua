-- What Lua adds to the methods of requests and responses.

local core = require "moonpool.core"
local cookie = require "moonpool.cookie"
local form = require "moonpool.form"
local sse = require "moonpool.sse"
local template = require "moonpool.template"

local request, response = core.request, core.response

local REDIRECTS = { [301] = true, [302] = true, [303] = true, [307] = true, [308] = true }

request.form = form.form
request.form_list = form.form_list
request.parts = form.parts
request.save = form.save
response.render = template.respond
response.sse = sse.open

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
