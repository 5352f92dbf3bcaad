-- A clock that stands, and is moved by the test.

local blocks = require "moonpool.test.block"
local check = require "moonpool.test.check"
local core = require "moonpool.core"
local trial = core.trial

local M = {}
local methods = {}
local metatable = { __index = methods, __name = "moonpool.test.clock" }

--- clock:advance(seconds): what is due meanwhile happens in its order, each with all that it causes, before this
--- returns.
function methods.advance(clock, seconds)
  if type(seconds) ~= "number" or not (seconds >= 0 and seconds <= 1e9) then
    error("advance: the seconds must be a number from 0, got " .. tostring(seconds), 2)
  elseif clock.closed then
    error("advance: the clock is closed", 2)
  end
  trial.advance(seconds)
end

function methods.close(clock)
  clock.closed = true
  clock._close()
end

metatable.__close = methods.close

-- What asks the system for the time is told that of the clock.
local function replace_os()
  local time, date = os.time, os.date
  os.time = function(t)
    return t and time(t) or math.floor(core.time())
  end
  os.date = function(format, at)
    return date(format or "%c", at or math.floor(core.time()))
  end
  return function()
    os.time, os.date = time, date
  end
end

local OPTIONS = { time = "number" }

function M.new(options, level)
  options = check.options("clock", options, OPTIONS, level + 1)
  trial.stop_clock(options.time)
  local undo = replace_os()
  local clock = setmetatable({ closed = false }, metatable)
  clock._close = blocks.on_close(function()
    undo()
    trial.start_clock()
  end)
  return clock
end

return M
