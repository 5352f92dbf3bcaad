-- What the threads of a worker ask of its loop. Each function runs in the task of the job that asks: what it starts is
-- that task's, and ends with it. `held`: the processes of the job, by number.

local core = require "moonpool.core"

local M = {}

function M.run(_, options)
  return core.run(options)
end

function M.spawn(held, options)
  local process, message, code = core.spawn(options)
  if not process then
    return nil, message, code
  end
  held[#held + 1] = process
  local streams = {}
  for _, name in ipairs { "stdin", "stdout", "stderr" } do
    streams[name] = process[name] ~= nil
  end
  return #held, process.pid, streams
end

local function find(held, id)
  return held[id] or error("the process belongs to a call that has ended", 0)
end

function M.process(held, id, method, ...)
  local process = find(held, id)
  return process[method](process, ...)
end

-- A stream that gives itself, for chaining, cannot cross: it is `true` on the way.
local function without(stream, first, ...)
  if first == stream then
    return true
  end
  return first, ...
end

function M.stream(held, id, name, method, ...)
  local stream = find(held, id)[name]
  return without(stream, stream[method](stream, ...))
end

function M.channel(_, channel, method, ...)
  return channel[method](channel, ...)
end

-- How many values it holds, and how it reads.
function M.channel_look(_, channel)
  return #channel, tostring(channel)
end

return M
