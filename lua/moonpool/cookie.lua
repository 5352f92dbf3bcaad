-- Cookies: reading a Cookie field, writing a Set-Cookie field (RFC 6265).
-- A value may be any string without CR, LF or NUL: what a cookie cannot hold is percent-encoded, and decoded again when
-- it is read.

local core = require "moonpool.core"

local M = {}

local TOKEN = "^[%w!#$%%&'*+%-.^_`|~]+$" -- RFC 9110, 5.6.2
local FORBIDDEN = "[%c \",;\\%%\128-\255]" -- not a cookie-octet, and the escape itself
local SAME_SITE = { Lax = true, Strict = true, None = true }

local function decode(value)
  value = value:match('^"(.*)"$') or value
  return value:find("%", 1, true) and core.url_decode(value) or value
end

--- The value of the first cookie of that name in a Cookie field; nil when there is none.
---@param field string?
---@param name string
---@return string?
function M.find(field, name)
  for pair in (field or ""):gmatch("[^;]+") do
    local key, value = pair:match("^%s*([^=]-)%s*=%s*(.-)%s*$")
    if key == name then
      return decode(value)
    end
  end
  return nil
end

local MOST_OF_A_NAME = 8 -- who sends more of them has made them up

--- The values of all cookies of that name, in the order in which they were sent, at most 8. A site can be given cookies
--- by its neighbours (another path, a domain above), so that the first one need not be its own.
---@param field string?
---@param name string
---@return string[]
function M.all(field, name)
  local values = {}
  for pair in (field or ""):gmatch("[^;]+") do
    local key, value = pair:match("^%s*([^=]-)%s*=%s*(.-)%s*$")
    if key == name and #values < MOST_OF_A_NAME then
      values[#values + 1] = decode(value)
    end
  end
  return values
end

local function bad(level, format, ...)
  error("cookie: " .. format:format(...), level + 1)
end

local function attribute_text(key, value, level)
  if type(value) ~= "string" or value == "" or value:find("[%c;]") then
    bad(level, "%s must be a string without ; or control characters", key)
  end
  return value
end

-- Each option: the attribute it becomes ("" for none), checked.
local ATTRIBUTES = {
  { "path", function(value, level)
    return value and "; Path=" .. attribute_text("path", value, level + 1) or ""
  end },
  { "domain", function(value, level)
    return value and "; Domain=" .. attribute_text("domain", value, level + 1) or ""
  end },
  { "max_age", function(value, level)
    if value == nil then
      return ""
    elseif type(value) ~= "number" or not math.tointeger(value) then
      bad(level, "max_age must be a whole number of seconds, got %s", tostring(value))
    end
    return ("; Max-Age=%d"):format(value)
  end },
  { "same_site", function(value, level, options)
    if not value then
      return ""
    elseif not SAME_SITE[value] then
      bad(level, "same_site must be Lax, Strict or None, got %s", tostring(value))
    elseif value == "None" and not options.secure then
      bad(level, "same_site = None needs secure = true; browsers drop it otherwise")
    end
    return "; SameSite=" .. value
  end },
  { "secure", function(value) return value and "; Secure" or "" end },
  { "http_only", function(value) return value and "; HttpOnly" or "" end },
}

local DEFAULTS = { path = "/", http_only = true, same_site = "Lax" }

local function read_options(given, level)
  local options = {}
  for key, value in pairs(DEFAULTS) do
    options[key] = value
  end
  for key, value in pairs(given or {}) do
    local known = false
    for _, attribute in ipairs(ATTRIBUTES) do
      known = known or attribute[1] == key
    end
    if not known then
      bad(level, "unknown option %q", tostring(key))
    end
    options[key] = value
  end
  return options
end

--- The value of a Set-Cookie field. A mistake raises; `level` as for an error raised by the caller.
---@param name string
---@param value string|number
---@param given table?
---@param level integer
---@return string
function M.format(name, value, given, level)
  level = level + 1
  if type(name) ~= "string" or not name:find(TOKEN) then
    bad(level, "the name must be a token, got %s", type(name) == "string" and ("%q"):format(name) or type(name))
  elseif type(value) ~= "string" and type(value) ~= "number" then
    bad(level, "the value of %s must be a string, got %s", name, type(value))
  elseif given ~= nil and type(given) ~= "table" then
    bad(level, "the options must be a table, got %s", type(given))
  end
  value = tostring(value)
  if value:find("[\r\n\0]") then
    bad(level, "the value of %s holds CR, LF or NUL", name)
  end
  local options = read_options(given, level + 1)
  local parts = { name, "=", (value:gsub(FORBIDDEN, function(c) return ("%%%02X"):format(c:byte()) end)) }
  for _, attribute in ipairs(ATTRIBUTES) do
    parts[#parts + 1] = attribute[2](options[attribute[1]], level + 1, options)
  end
  return table.concat(parts)
end

return M
