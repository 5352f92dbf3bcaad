-- The keys of this server: made from the secrets of the configuration, one for each purpose.
--
--   app = { secret = "…" }  or a list, or  app = { secret_file = "path" }  or  MOONPOOL_SECRET, MOONPOOL_SECRET_FILE
--
-- The first secret signs and seals, all of them verify and open: to change it, put the new one in front, and take the
-- old one away when nothing that it has signed is valid any more.

local core = require "moonpool.core"

local M = {}

M.SHORTEST = 32 -- bytes

--- Raises unless it is a secret, or a list of them; → the list.
---@param given string|string[]
---@param what string
---@param level integer
---@return string[]
function M.check(given, what, level)
  local list = type(given) == "table" and given or { given }
  if #list == 0 then
    error(what .. ": a secret is wanted, the list is empty", level + 1)
  end
  for i, secret in ipairs(list) do
    local name = #list > 1 and ("%s %d"):format(what, i) or what
    if type(secret) ~= "string" then
      error(("%s must be a string, got %s"):format(name, type(secret)), level + 1)
    elseif #secret < M.SHORTEST then
      error(("%s has %d bytes, at least %d are needed (as from: openssl rand -hex 32)")
        :format(name, #secret, M.SHORTEST), level + 1)
    end
  end
  return list
end

-- A secret a line, so that they can be changed like those of a list.
local function read_file(path)
  local file, why = io.open(path, "rb")
  local text = file and file:read("a")
  if file then
    file:close()
  end
  if not text then
    error("the secret cannot be read: " .. tostring(why), 0)
  end
  local list = {}
  for line in text:gmatch("[^\r\n]+") do
    list[#list + 1] = line
  end
  return M.check(list, "the secret in " .. path, 0)
end

local function set(value)
  return value ~= nil and value ~= "" and value or nil
end

local configured -- list; nil: not looked yet; false: there is none

--- What the configuration says; raises when that is no secret. nil: it says nothing.
---@return string[]?
function M.configured()
  if configured == nil then
    local settings = type(core.settings) == "table" and core.settings or {}
    local secret = set(os.getenv "MOONPOOL_SECRET")
    local path = set(os.getenv "MOONPOOL_SECRET_FILE")
    if not secret and not path then
      secret, path = settings.secret, settings.secret_file
    end
    configured = secret and M.check(secret, "app.secret", 0) or path and read_file(path) or false
  end
  return configured or nil
end

local function derive(secret, label)
  return core.mac(core.digest(secret), label)
end

local made = setmetatable({}, { __mode = "k" }) -- list of secrets → label → keys

--- The keys for a purpose, the one that signs first. `given`: secrets of the caller's own, not the configured ones.
---@param label string
---@param given string[]?
---@return string[]
function M.keys(label, given)
  local secrets = given or M.configured()
  if not secrets then
    error("no secret is configured: app = { secret = \"…\" } in moonpool.conf.lua, or MOONPOOL_SECRET", 0)
  end
  local labels = made[secrets]
  if not labels then
    labels = {}
    made[secrets] = labels
  end
  if not labels[label] then
    local keys = {}
    for i, secret in ipairs(secrets) do
      keys[i] = derive(secret, label)
    end
    labels[label] = keys
  end
  return labels[label]
end

return M
