-- So many requests in so much time, counted for the pool as a whole. The window of a key begins with its first request.

local core = require "moonpool.core"
local log = require "moonpool.logging"
local read_options = require("moonpool.options").read

local M = {}

local KNOWN = { limit = "count", window = "seconds", key = "callable", name = "string" }
local LONGEST_KEY, SILENCE = 512, 60

-- Whoever has one address of IPv6 has a network of 2^64 of them.
local function network(ip)
  if not ip or not ip:find ":" or ip:find "%." then
    return ip
  end
  local head, tail = ip:match "^(.-)::(.*)$"
  local groups, after = {}, {}
  for group in (head or ip):gmatch "%x+" do
    groups[#groups + 1] = group
  end
  for group in (tail or ""):gmatch "%x+" do
    after[#after + 1] = group
  end
  for _ = 1, head and 8 - #groups - #after or 0 do
    groups[#groups + 1] = "0"
  end
  table.move(after, 1, #after, #groups + 1, groups)
  return table.concat(groups, ":", 1, 4) .. "::/64"
end

local function by_address(req)
  return network(req.ip) or "unix"
end

local function key_of(options, req)
  local key = options.key(req)
  if key == nil or key == false then
    return nil
  end
  key = tostring(key)
  if #key > LONGEST_KEY then
    error({ status = 400, message = "what you are counted by is too long" }, 0)
  end
  return key
end

-- Without room to count, requests pass: a limit must not become an outage. One line a minute says so.
local function open_failure()
  local told
  return function(message)
    local now = core.now()
    if not told or now - told >= SILENCE then
      told = now
      log.warn("rate_limit: cannot count, all may pass", { error = tostring(message) })
    end
  end
end

local function set_fields(options, res, n, seconds)
  res:header("RateLimit-Policy", options.policy)
  res:header("RateLimit", ('"%s";r=%d;t=%d'):format(options.name, math.max(0, options.limit - n), seconds))
end

--- rate_limit{ limit, window, key(req), name }. A key of nil is not counted.
local function new(given)
  local options = read_options("rate_limit", given, KNOWN, { key = by_address, name = "default" }, 2)
  if not options.limit or not options.window then
    error("rate_limit: limit and window are wanted", 2)
  elseif options.name:find '[^%w_.-]' then
    error("rate_limit: name must be of letters, digits, _ . and -", 2)
  end
  options.policy = ('"%s";q=%d;w=%d'):format(options.name, options.limit, math.ceil(options.window))
  local counts, failed = core.shared("moonpool.rate_limit." .. options.name), open_failure()
  return function(req, res, next)
    local key = key_of(options, req)
    if not key then
      return next()
    end
    local n, message = counts:incr(key, 1, options.window)
    if not n then
      failed(message)
      return next()
    end
    local seconds = math.ceil(math.min(counts:ttl(key) or 1, options.window))
    set_fields(options, res, n, seconds)
    if n > options.limit then
      error({ status = 429, message = "too many requests", headers = { ["Retry-After"] = ("%d"):format(seconds) } }, 0)
    end
    next()
  end
end

M._network = network

return setmetatable(M, { __call = function(_, given) return new(given) end })
