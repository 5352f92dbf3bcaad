-- Fields that tell browsers to be careful. A handler may set any of them anew; false leaves one out.

local core = require "moonpool.core"
local read_options = require("moonpool.options").read

local M = {}

local OFF = "off"
local KNOWN = {
  csp = { "string", "boolean" }, csp_report_only = "boolean", hsts = { "seconds", "boolean" },
  include_subdomains = "boolean", preload = "boolean", nosniff = "boolean", frame_ancestors = { "string", "boolean" },
  referrer_policy = { "string", "boolean" }, permissions_policy = { "string", "boolean" },
  opener_policy = { "string", "boolean" }, resource_policy = { "string", "boolean" },
}
local DEFAULTS = {
  csp = "default-src 'self'; object-src 'none'; base-uri 'self'; form-action 'self'",
  csp_report_only = false, hsts = 365 * 86400, include_subdomains = false, preload = false, nosniff = true,
  frame_ancestors = "'none'", referrer_policy = "strict-origin-when-cross-origin", permissions_policy = false,
  opener_policy = "same-origin", resource_policy = "same-origin",
}
local FRAME_OPTIONS = { ["'none'"] = "DENY", ["'self'"] = "SAMEORIGIN" }

local function check(options)
  for key, value in pairs(options) do
    if value == true and type(DEFAULTS[key]) ~= "boolean" then
      options[key] = DEFAULTS[key]
    elseif type(value) == "string" and value:find "%c" then
      error(("security_headers: %s holds a control character"):format(key), 3)
    end
  end
  if options.preload and not (options.hsts and options.hsts >= 31536000 and options.include_subdomains) then
    error("security_headers: preload needs hsts of a year and include_subdomains", 3)
  end
  return options
end

local function transport(options)
  return ("max-age=%d%s%s"):format(math.floor(options.hsts), options.include_subdomains and "; includeSubDomains" or "",
    options.preload and "; preload" or "")
end

-- frame-ancestors belongs into the policy, unless the policy has its own.
local function policy_of(options)
  local policy = options.csp or ""
  if options.frame_ancestors and not policy:find("frame-ancestors", 1, true) then
    policy = policy .. (policy ~= "" and "; " or "") .. "frame-ancestors " .. options.frame_ancestors
  end
  return policy ~= "" and policy or nil
end

local function fixed_fields(options)
  return {
    { "X-Content-Type-Options", options.nosniff and "nosniff" or OFF },
    { "Referrer-Policy", options.referrer_policy or OFF },
    { "Permissions-Policy", options.permissions_policy or OFF },
    { "Cross-Origin-Opener-Policy", options.opener_policy or OFF },
    { "Cross-Origin-Resource-Policy", options.resource_policy or OFF },
    { "X-Frame-Options", FRAME_OPTIONS[options.frame_ancestors] or OFF }, -- for browsers without the policy
  }
end

local nonces = setmetatable({}, { __mode = "k" }) -- req.ctx → nonce

--- The nonce of this request: `<script nonce="…">` may run where the policy has {nonce}.
function M.nonce(req)
  local nonce = nonces[req.ctx]
  if not nonce then
    error("security_headers.nonce: there is none; write {nonce} into csp, as in script-src {nonce}", 2)
  end
  return nonce
end

--- security_headers{ csp, hsts, … }
local function new(given)
  local options = check(read_options("security_headers", given, KNOWN, DEFAULTS, 2))
  local fields, policy = fixed_fields(options), policy_of(options)
  local policy_name = "Content-Security-Policy" .. (options.csp_report_only and "-Report-Only" or "")
  local wants_nonce = policy and policy:find("{nonce}", 1, true)
  return function(req, res, next)
    for _, field in ipairs(fields) do
      if field[2] ~= OFF then
        res:header(field[1], field[2])
      end
    end
    if options.hsts and req.scheme == "https" then
      res:header("Strict-Transport-Security", transport(options))
    end
    if wants_nonce then
      nonces[req.ctx] = core.random(16)
      res:header(policy_name, (policy:gsub("{nonce}", "'nonce-" .. nonces[req.ctx] .. "'")))
    elseif policy then
      res:header(policy_name, policy)
    end
    next()
  end
end

return setmetatable(M, { __call = function(_, given) return new(given) end })
