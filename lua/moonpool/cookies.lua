-- Cookies that a client cannot make up: signed ones it can read, sealed ones it cannot. Text in, text out; messages.lua
-- has the methods of requests and responses.
--
--   signed   base64url(value) . expiry . base64url(mac of name, expiry, value)     BLAKE2b with a key
--   sealed   base64url(nonce, encrypted expiry and value, tag), bound to the name  XChaCha20-Poly1305
--
-- The name is part of what is signed: the value of one cookie is worth nothing under the name of another. What is
-- corrupt, expired or of an unknown key is no cookie, and a line in the log at debug.

local core = require "moonpool.core"
local cookie = require "moonpool.cookie"
local secret = require "moonpool.secret"

local M = {}

M._MOST = 4096 -- bytes of a cookie with its name and attributes that browsers keep (RFC 6265, 6.1)

local function check_text(value, what, level)
  if type(value) ~= "string" then
    error(("%s must be a string, got %s"):format(what, type(value)), level + 1)
  end
end

local function check_keys(keys, level)
  return keys ~= nil and secret.check(keys, "keys", level + 1) or nil
end

local function expiry_of(max_age, level)
  if max_age == nil then
    return 0
  elseif type(max_age) ~= "number" or max_age ~= max_age or max_age > 1e10 then
    error("max_age must be a number of seconds, got " .. tostring(max_age), level + 1)
  end
  return math.ceil(core.time() + max_age)
end

local function refuse(name, why)
  core.log("debug", ("the cookie %s is none: %s"):format(name, why))
  return nil
end

local function signature(key, name, expiry, value)
  return core.mac(key, ("%s\0%d\0"):format(name, expiry) .. value)
end

--- The text of a signed cookie. options: max_age (seconds that it is valid; nil: for ever), keys (secrets of one's own)
---@param name string
---@param value string
---@param options { max_age?: number, keys?: string|string[] }?
---@return string
function M.sign(name, value, options)
  check_text(name, "sign: the name", 2)
  check_text(value, "sign: the value", 2)
  options = options or {}
  local expiry = expiry_of(options.max_age, 2)
  local key = secret.keys("signed cookie", check_keys(options.keys, 2))[1]
  return ("%s.%d.%s"):format(core.base64url(value), expiry, core.base64url(signature(key, name, expiry, value)))
end

--- The value of a signed cookie, or nil.
---@param name string
---@param text string
---@param options { keys?: string|string[] }?
---@return string?
function M.verify(name, text, options)
  check_text(name, "verify: the name", 2)
  check_text(text, "verify: the text", 2)
  local keys = secret.keys("signed cookie", check_keys(options and options.keys, 2))
  local encoded, digits, mac = text:match("^([%w_-]*)%.(%d+)%.([%w_-]+)$")
  local value, expiry = encoded and core.unbase64(encoded), digits and math.tointeger(tonumber(digits))
  mac = mac and core.unbase64(mac)
  if not value or not expiry or not mac then
    return refuse(name, "malformed")
  end
  for _, key in ipairs(keys) do
    if core.same(signature(key, name, expiry, value), mac) then
      if expiry ~= 0 and expiry <= core.time() then
        return refuse(name, "expired")
      end
      return value
    end
  end
  return refuse(name, "the signature is of no key of ours")
end

--- The text of a sealed cookie; options as of sign.
---@param name string
---@param value string
---@param options { max_age?: number, keys?: string|string[] }?
---@return string
function M.seal(name, value, options)
  check_text(name, "seal: the name", 2)
  check_text(value, "seal: the value", 2)
  options = options or {}
  local key = secret.keys("sealed cookie", check_keys(options.keys, 2))[1]
  return core.base64url(core.seal(key, string.pack("<i8", expiry_of(options.max_age, 2)) .. value, name))
end

--- The value of a sealed cookie, or nil.
---@param name string
---@param text string
---@param options { keys?: string|string[] }?
---@return string?
function M.open(name, text, options)
  check_text(name, "open: the name", 2)
  check_text(text, "open: the text", 2)
  local keys = secret.keys("sealed cookie", check_keys(options and options.keys, 2))
  local bytes = core.unbase64(text)
  for _, key in ipairs(bytes and keys or {}) do
    local opened = core.unseal(key, bytes, name)
    if opened and #opened >= 8 then
      local expiry = string.unpack("<i8", opened)
      if expiry ~= 0 and expiry <= core.time() then
        return refuse(name, "expired")
      end
      return opened:sub(9)
    end
  end
  return refuse(name, bytes and "it was sealed by no key of ours" or "malformed")
end

--- The first cookie of that name in a Cookie field for which `read` (M.verify or M.open) has a value.
function M._first(field, name, read, options)
  for _, text in ipairs(cookie.all(field, name)) do
    local value = read(name, text, options)
    if value then
      return value
    end
  end
  return nil
end

--- A Set-Cookie field of what `make` (M.sign or M.seal) gives; raises when browsers would drop it.
function M._field(make, name, value, options, level)
  if options ~= nil and type(options) ~= "table" then
    error("cookie: the options must be a table, got " .. type(options), level + 1)
  elseif type(name) ~= "string" or type(value) ~= "string" then
    error(("cookie: name and value must be strings, got %s and %s"):format(type(name), type(value)), level + 1)
  end
  local plain = {}
  for key, option in pairs(options or {}) do
    if key ~= "keys" then
      plain[key] = option
    end
  end
  cookie.format(name, "", plain, level + 1) -- what is wrong with the options is told first
  local field = cookie.format(name, make(name, value, options), plain, level + 1)
  if #field > M._MOST then
    error(("cookie: %s would have %d bytes, and browsers keep %d"):format(name, #field, M._MOST), level + 1)
  end
  return field
end

return M
