-- Who asks: HTTP's own schemes, Basic (RFC 7617) and Bearer (RFC 6750).
--
--   app:use("/admin", auth.basic { realm = "admin", users = { ann = "secret" } })
--   app:use("/api", auth.bearer { check = function(token, req) return user_of(token) end })
--
-- What `check` returns, or the user's name, is in req.ctx.user. Over plain http both can be read by whoever listens.

local core = require "moonpool.core"
local read_options = require("moonpool.options").read

local M = {}

local REALM = { realm = "string", users = "table", check = "callable" }
local TOKENS = { realm = "string", tokens = "table", check = "callable", scope = "string" }

-- A quoted-string holds no controls; quotes and backslashes are escaped (RFC 9110, 5.6.4).
local function quote(text, what)
  if text:find "[%c\128-\255]" then
    error(what .. " must be printable ASCII", 3)
  end
  return '"' .. text:gsub('[\\"]', "\\%0") .. '"'
end

local function challenge(status, field, message)
  error({ status = status, message = message, headers = { ["WWW-Authenticate"] = field } }, 0)
end

-- A second Authorization field is nobody's honest request.
local function credentials(req, scheme)
  local fields = req:header_list "Authorization"
  if #fields ~= 1 then
    return nil, #fields > 1
  end
  local name, rest = fields[1]:match "^(%S+) +(.-)%s*$"
  return name and name:lower() == scheme and rest or nil
end

local function one_of(what, options, list)
  if (options.check == nil) == (options[list] == nil) then
    error(("%s: either check or %s is wanted"):format(what, list), 3)
  end
end

---- Basic

-- All passwords are compared, whatever the name: the time does not tell which names there are.
local function check_users(users)
  for name, password in pairs(users) do
    if type(name) ~= "string" or name:find "[:%c]" or type(password) ~= "string" or password == "" then
      error("basic_auth: users must be names (without :) and passwords, not empty", 3)
    end
  end
  return function(user, password)
    local found
    for name, wanted in pairs(users) do
      local same_name, same_password = core.same(name, user), core.same(wanted, password)
      if same_name and same_password then
        found = name
      end
    end
    return found
  end
end

--- basic{ realm, users or check(user, password, req) }
function M.basic(given)
  local options = read_options("basic_auth", given, REALM, { realm = "restricted" }, 2)
  one_of("basic_auth", options, "users")
  local check = options.check or check_users(options.users)
  local field = ("Basic realm=%s, charset=\"UTF-8\""):format(quote(options.realm, "basic_auth: realm"))
  return function(req, _, next)
    local text = credentials(req, "basic")
    local user, password = (text and core.unbase64(text) or ""):match "^([^:%c]*):([^%c]*)$"
    local who = user and utf8.len(user .. password) and check(user, password, req)
    if not who then
      challenge(401, field, "name and password are wanted")
    end
    req.ctx.user = who == true and user or who
    next()
  end
end

---- Bearer

local function check_tokens(tokens)
  for token in pairs(tokens) do
    if type(token) ~= "string" or not token:find "^[%w%-._~+/]+=*$" then
      error("bearer_auth: tokens must be tokens (letters, digits, -._~+/) and what they stand for", 3)
    end
  end
  return function(token)
    local found
    for known, stands_for in pairs(tokens) do
      if core.same(known, token) then
        found = stands_for
      end
    end
    return found
  end
end

--- bearer{ realm, tokens or check(token, req), scope }. check: a value; or false and "scope": 403
function M.bearer(given)
  local options = read_options("bearer_auth", given, TOKENS, { realm = "restricted" }, 2)
  one_of("bearer_auth", options, "tokens")
  local check = options.check or check_tokens(options.tokens)
  local field = "Bearer realm=" .. quote(options.realm, "bearer_auth: realm")
  local scope = options.scope and ", scope=" .. quote(options.scope, "bearer_auth: scope") or ""
  return function(req, _, next)
    local token, twice = credentials(req, "bearer")
    if twice or token and not token:find "^[%w%-._~+/]+=*$" then
      challenge(400, field .. ', error="invalid_request"', "the Authorization field is malformed")
    elseif not token then
      challenge(401, field .. scope, "a token is wanted")
    end
    local who, why = check(token, req)
    if not who and why == "scope" then
      challenge(403, field .. ', error="insufficient_scope"' .. scope, "the token does not reach this far")
    elseif not who then
      challenge(401, field .. ', error="invalid_token"' .. scope, "the token is not valid")
    end
    req.ctx.user = who
    next()
  end
end

return M
