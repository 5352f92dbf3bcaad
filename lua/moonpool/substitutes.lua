-- Modules that wait by holding the whole worker, and what to use instead: said once each, with where it was required.

local core = require "moonpool.core"

local M = {}

local NETWORK = "moonpool.run{ \"curl\", … }, or require it inside moonpool.offload"
local DATABASE = "a moonpool.service that has the connection"
local PROCESSES = "moonpool.spawn and moonpool.run"

-- A name, or all below it with ".*".
local SUBSTITUTES = {
  ["socket"] = NETWORK, ["socket.*"] = NETWORK, ["ssl"] = NETWORK, ["ssl.*"] = NETWORK, ["cURL"] = NETWORK,
  ["lcurl"] = NETWORK, ["copas"] = NETWORK, ["copas.*"] = NETWORK, ["cqueues"] = NETWORK, ["cqueues.*"] = NETWORK,
  ["redis"] = DATABASE, ["pgsql"] = DATABASE, ["luasql.*"] = DATABASE, ["mongo"] = DATABASE,
  ["lsqlite3"] = "moonpool.sqlite", ["lsqlite3complete"] = "moonpool.sqlite", ["luasql.sqlite3"] = "moonpool.sqlite",
  ["luv"] = "moonpool's own timers, tasks and processes (a second loop is never run)",
  ["posix"] = PROCESSES, ["posix.sys.wait"] = PROCESSES, ["posix.unistd"] = PROCESSES, ["subprocess"] = PROCESSES,
  ["posix.time"] = "moonpool.sleep",
}

local told = {}

local function substitute_of(name)
  return SUBSTITUTES[name] or SUBSTITUTES[(name:match "^[^.]+" or "") .. ".*"]
end

-- The first place on the stack that is the script's, not ours and not C.
local function caller()
  local level = 3
  while true do
    local info = debug.getinfo(level, "Sl")
    if not info then
      return "?"
    elseif info.what ~= "C" and not info.source:find("^@moonpool:") and not info.source:find("moonpool/%a+%.lua$") then
      return ("%s:%d"):format(info.short_src, info.currentline), info.source
    end
    level = level + 1
  end
end

--- To be called when `name` is about to be loaded. A module that a known one brings along is not told of.
function M.note(name)
  local instead = substitute_of(name)
  if not instead or told[name] then
    return
  end
  told[name] = true
  local where, source = caller()
  if source and source:find("/socket[./]") then
    return
  end
  core.log("warn", ("the module %s holds the whole worker while it waits; instead: %s"):format(name, instead),
    { required_at = where })
end

return M
