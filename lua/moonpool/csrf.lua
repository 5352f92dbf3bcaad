-- Forms that only this site's own pages can send.
--
--   app:use(require "moonpool.csrf" {})       after the session's middleware, if there is one
--   <form method="post">…  csrf.field(req)    or csrf.token(req) in a header X-CSRF-Token
--
-- What may change something (all but GET, HEAD, OPTIONS, TRACE) must come from this site, by what the browser says of
-- its origin, and carry the token. The token's secret is in the session; without one in a signed cookie of its own. It
-- is masked anew each time, so that its bytes cannot be guessed from the length of compressed pages.

local core = require "moonpool.core"
local cookies = require "moonpool.cookies"
local read_options = require("moonpool.options").read
local secret = require "moonpool.secret"
local vary = require "moonpool.vary"

local M = {}

local KNOWN = { field = "string", header = "string", cookie = "string", trusted = "strings",
  exempt = { "strings", "callable" }, keys = { "string", "strings" } }
local DEFAULTS = { field = "csrf_token", header = "X-CSRF-Token", cookie = "csrf", trusted = {}, exempt = {} }
local SAFE = { GET = true, HEAD = true, OPTIONS = true, TRACE = true }
local FORMS = { ["application/x-www-form-urlencoded"] = true, ["multipart/form-data"] = true }
local SIZE = 32

local function refuse(why)
  core.log("debug", "csrf: " .. why)
  error({ status = 403, message = "the form is too old, or comes from another site; load its page again" }, 0)
end

---- the token

-- The secret is 64 hex digits, in the session or in a cookie; the token a mask and the secret under it.
local function bytes_of(hex)
  return (hex:gsub("%x%x", function(pair) return string.char(tonumber(pair, 16)) end))
end

local function mask(hex)
  local noise = bytes_of(core.random(SIZE))
  return core.base64url(noise .. core.xor(noise, bytes_of(hex)))
end

local function is_token(hex, token)
  local bytes = type(token) == "string" and core.unbase64(token)
  if not bytes or #bytes ~= 2 * SIZE then
    return false
  end
  return core.same(bytes_of(hex), core.xor(bytes:sub(1, SIZE), bytes:sub(SIZE + 1)))
end

---- where its secret is

local function name_of(state)
  return (state.req.scheme == "https" and "__Host-" or "") .. state.options.cookie
end

local function sent_secret(state)
  if state.session then
    return state.session:_csrf_secret()
  end
  local options = { keys = state.options.keys }
  local hex = cookies._first(state.req.headers["Cookie"], name_of(state), cookies.verify, options)
  return hex and #hex == 2 * SIZE and not hex:find "%X" and hex or nil
end

local function set_cookie(state, hex)
  if state.res.sent then
    error("csrf: the token's cookie cannot be set any more, the head has been sent", 4)
  end
  state.res:signed_cookie(name_of(state), hex, { keys = state.options.keys, same_site = "Lax",
    secure = state.req.scheme == "https" })
  if not state.res:header "Cache-Control" then
    state.res:header("Cache-Control", "private, no-cache")
  end
end

local function new_secret(state)
  if state.session then
    return state.session:_new_csrf_secret()
  end
  local hex = core.random(SIZE)
  set_cookie(state, hex)
  return hex
end

local function secret_of(state)
  if not state.hex then
    state.hex = sent_secret(state)
    vary.add(state.res, "Cookie")
    state.hex = state.hex or new_secret(state)
  end
  return state.hex
end

---- where a request comes from

local function has(list, wanted)
  for _, item in ipairs(list) do
    if item:lower() == wanted then
      return true
    end
  end
  return false
end

local function own_origin(req)
  local host = (req.host or ""):lower()
  local default = req.scheme == "https" and ":443" or ":80"
  if host:sub(-#default) == default then
    host = host:sub(1, -#default - 1)
  end
  return req.scheme .. "://" .. host
end

-- Browsers say "same-origin" of what this site's own pages send, and "none" of what the user typed.
local function check_origin(req, options)
  local site, origin = req.headers["Sec-Fetch-Site"], req.headers["Origin"]
  if origin and (origin:lower() == own_origin(req) or has(options.trusted, origin:lower())) then
    return
  elseif origin and origin ~= "null" and not site then
    refuse("the origin is another site's")
  elseif site and site ~= "same-origin" and site ~= "none" then
    refuse("sent from another site")
  elseif origin and site ~= "same-origin" then
    refuse("the origin is another site's")
  end
  local referer = not origin and not site and req.scheme == "https" and req.headers["Referer"]
  if referer and (referer:lower():match "^(%a+://[^/?#]*)" or "") ~= own_origin(req) then
    refuse("the referer is another site's")
  end
end

local function sent_token(req, options)
  local token = req.headers[options.header]
  if token then
    return token
  end
  local kind = (req.headers["Content-Type"] or ""):lower():match "^[^;%s]*"
  return FORMS[kind] and req:form()[options.field] or nil
end

local function is_exempt(req, exempt)
  if type(exempt) ~= "table" then
    return exempt(req)
  end
  for _, path in ipairs(exempt) do
    local below = path:match "^(.*/)%*$"
    if req.path == path or below and req.path:sub(1, #below) == below then
      return true
    end
  end
  return false
end

local function check(state)
  local req, options = state.req, state.options
  check_origin(req, options)
  local hex = sent_secret(state) -- nothing is kept for one who has none
  if not hex then
    refuse("there is no cookie, or none that holds good")
  elseif not is_token(hex, sent_token(req, options)) then
    refuse("the token is missing, or not of this session")
  end
  state.hex = hex
end

---- the middleware

local states = setmetatable({}, { __mode = "k" }) -- req.ctx → state

--- csrf{ field, header, cookie, trusted, exempt, keys }
local function new(given)
  local options = read_options("csrf", given, KNOWN, DEFAULTS, 2)
  options.keys = options.keys and secret.check(options.keys, "csrf: keys", 2) or nil
  return function(req, res, next)
    local session = req.ctx.session
    local state = { req = req, res = res, options = options,
      session = type(session) == "table" and session._csrf_secret and session or nil }
    states[req.ctx] = state
    if not SAFE[req.method] and not is_exempt(req, options.exempt) then
      check(state)
    end
    next()
  end
end

--- The token for this request's page; to be asked for before the head is out.
function M.token(req)
  local state = states[req.ctx]
  if not state then
    error("csrf.token: its middleware has not run here", 2)
  end
  return mask(secret_of(state))
end

--- The hidden field of a form, as HTML.
function M.field(req)
  local state = states[req.ctx]
  if not state then
    error("csrf.field: its middleware has not run here", 2)
  end
  return ('<input type="hidden" name="%s" value="%s">'):format(core.escape(state.options.field), mask(secret_of(state)))
end

return setmetatable(M, { __call = function(_, given) return new(given) end })
