-- Passwords: argon2id, on a thread. At most two at once in a worker, since each holds 64 MiB; a few more wait.

local core = require "moonpool.core"

local M = {}

local PASSES, MEMORY = 2, 64 * 1024 * 1024 -- about a tenth of a second
local AT_ONCE, WAITING = 2, 64

local gate

-- In a thread the work is done where it is; on the loop it is sent to a thread.
local function work(name, ...)
  if not core.offload then
    return core["password_" .. name](...)
  end
  gate = gate or core.gate(AT_ONCE, WAITING)
  local permit <close>, message, code = core.gate_enter(gate)
  if not permit then
    return nil, message, code
  end
  return core.wait(core.offload("moonpool.argon2." .. name, ...))
end

local function check_string(value, what)
  if type(value) ~= "string" then
    error(("password.%s must be a string, got %s"):format(what, type(value)), 3)
  end
end

local function missing()
  local ok, message, code = core.sodium()
  if not ok then
    return message, code
  end
end

--- A hash to be kept, with its salt in it. Or nil, message, code: "ENOMEM", "EAGAIN" (too many wait), "ENOENT"
--- (libsodium is missing).
---@param password string
function M.hash(password)
  check_string(password, "hash: the password")
  local message, code = missing()
  if message then
    return nil, message, code
  end
  return work("hash", password, PASSES, MEMORY)
end

--- Is it the password of that hash? `hash` nil (there is no such user): false, after as long a time.
---@param password string
---@param hash string?
function M.verify(password, hash)
  check_string(password, "verify: the password")
  if hash ~= nil then
    check_string(hash, "verify: the hash")
  end
  local message, code = missing()
  if message then
    return nil, message, code
  elseif hash then
    return work("verify", password, hash)
  end
  message, code = select(2, work("hash", password, PASSES, MEMORY))
  if code then
    return nil, message, code
  end
  return false
end

--- Was it made in a weaker way than hashes are made now? Then hash anew at the next login.
---@param hash string
function M.needs_rehash(hash)
  check_string(hash, "needs_rehash: the hash")
  local message = missing()
  if message then
    error("password.needs_rehash: " .. message, 2)
  end
  return core.password_is_stale(hash, PASSES, MEMORY)
end

return M
