-- The public module as a thread's Lua state has it: what a script gets from require "moonpool" in an offload or in a
-- service. What needs the loop is asked of it, and the thread waits; what makes no sense here says so.

local core = require "moonpool.core"
local log = require "moonpool.logging"

local Process = { __name = "moonpool.process" }

local function is_process(value)
  return getmetatable(value) == Process
end

---- processes: the loop has them, a number stands for each

local methods = {}

local function method(name)
  return function(self, ...)
    if not is_process(self) then
      error(name .. ": a process is wanted, as in process:" .. name .. "(…)", 2)
    end
    return core.ask("process", self._id, name, ...)
  end
end
for _, name in ipairs { "wait", "kill", "stop" } do
  methods[name] = method(name)
end

local function stream_call(name)
  return function(self, ...)
    return core.ask("stream", self._id, self._name, name, ...)
  end
end

local function write(self, ...)
  local ok, message, code = core.ask("stream", self._id, self._name, "write", ...)
  if ok then
    return self
  end
  return nil, message, code
end

local stream = { read = stream_call "read", write = write, close = stream_call "close" }
local stream_meta = { __index = stream, __close = stream.close }

function stream.lines(self)
  local held = ""
  return function()
    while true do
      local line, rest = held:match("^(.-)\n(.*)$")
      if line then
        held = rest
        return line
      end
      local piece = self:read()
      if not piece then
        local last = held
        held = ""
        return last ~= "" and last or nil
      end
      held = held .. piece
    end
  end
end

function Process.__index(self, name)
  if name == "stdin" or name == "stdout" or name == "stderr" then
    return self._streams[name] and setmetatable({ _id = self._id, _name = name }, stream_meta)
  end
  return methods[name]
end

function Process.__close(self)
  self:stop()
end

function Process.__tostring(self)
  return ("process %d"):format(self.pid)
end

local function check_options(options, name)
  if type(options) ~= "table" then
    error(name .. ": only processes can be started from a thread, by a table; tasks need the loop", 3)
  end
end

local function run(options)
  check_options(options, "run")
  return core.ask("run", options)
end

local function spawn(options)
  check_options(options, "spawn")
  local id, pid, streams = core.ask("spawn", options)
  if not id then
    return nil, pid, streams
  end
  return setmetatable({ _id = id, pid = pid, _streams = streams }, Process)
end

---- channels: the loop has them; send and receive wait there, and the thread with them

local Channel = core.far_channel
local channel = {}

local function channel_call(name)
  return function(self, ...)
    if getmetatable(self) ~= Channel then
      error(name .. ": a channel is wanted, as in channel:" .. name .. "(…)", 2)
    end
    return core.ask("channel", self, name, ...)
  end
end
for _, name in ipairs { "send", "receive", "close" } do
  channel[name] = channel_call(name)
end

function channel.values(self)
  return function()
    return (channel.receive(self))
  end
end

Channel.__index, Channel.__close = channel, channel.close

function Channel.__len(self)
  return (core.ask("channel_look", self))
end

function Channel.__tostring(self)
  return (select(2, core.ask("channel_look", self)))
end

local function wait(x, timeout)
  if getmetatable(x) == Channel then
    return channel.receive(x, timeout)
  elseif not is_process(x) then
    error("wait: only processes and channels can be waited for in a thread, not " .. type(x), 2)
  end
  return x:wait(timeout)
end

core.spawn, core.run, core.wait = spawn, run, wait -- what io and os here are made of

---- the module

local M = {
  cancelled = core.cancelled,
  escape = core.escape,
  json = core.json,
  log = log,
  now = core.now,
  random = core.random,
  run = run,
  settings = core.settings,
  shared = core.shared,
  sleep = core.sleep,
  spawn = spawn,
  time = core.time,
  url = { encode = core.url_encode, decode = core.url_decode },
  wait = wait,
  worker = core.worker,
}

setmetatable(M, {
  __index = function(_, name)
    error(("moonpool.%s needs the worker's loop, which is not on this thread"):format(tostring(name)), 2)
  end,
})

--- Called once for each state: print, io and os as the worker has them.
function M.install()
  M.install = nil
  package.loaded.moonpool = M
  print = require("moonpool.osio").install(io, os)
  local setlocale = os.setlocale
  function os.setlocale(locale, ...)
    if locale ~= nil then
      error("os.setlocale: the locale is the whole worker's, and cannot be set from a thread", 2)
    end
    return setlocale(nil, ...)
  end
end

return M
