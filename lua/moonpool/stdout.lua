-- The worker's standard output: a file-like handle that writes to the log, a line at a time, at info.

local core = require "moonpool.core"
local pipe = require "moonpool.later" "moonpool.pipe"

local M = {}
local methods = {}
local metatable = { __index = methods, __name = "FILE*" }

-- A line that does not end is given out in parts, so that what is held stays small.
local LONGEST_LINE = 64 * 1024

function M.is_handle(value)
  return getmetatable(value) == metatable
end

function M.new()
  return setmetatable({ _held = {}, _size = 0 }, metatable)
end

local function check(handle, name)
  if not M.is_handle(handle) then
    error(("bad argument #1 to '%s' (FILE* expected, got %s)"):format(name, type(handle)), 3)
  end
end

local function log_held(handle)
  local line = table.concat(handle._held)
  handle._held, handle._size = {}, 0
  core.log("info", line)
end

local function hold(handle, text)
  if text ~= "" then
    table.insert(handle._held, text)
    handle._size = handle._size + #text
  end
end

--- Writes text; each whole line becomes a line of the log.
function M.write(handle, text)
  local from, at = 1, text:find("\n", 1, true)
  while at do
    hold(handle, text:sub(from, at - 1))
    log_held(handle)
    from, at = at + 1, text:find("\n", at + 1, true)
  end
  hold(handle, text:sub(from))
  if handle._size >= LONGEST_LINE then
    log_held(handle)
  end
end

function methods.write(handle, ...)
  check(handle, "write")
  M.write(handle, pipe.join(2, ...))
  return handle
end

function methods.flush(handle)
  check(handle, "flush")
  if handle._size > 0 then
    log_held(handle)
  end
  return true
end

function methods.setvbuf(handle)
  check(handle, "setvbuf")
  return true
end

function methods.close(handle)
  check(handle, "close")
  return nil, "cannot close standard file", "EBADF"
end

function methods.seek(handle)
  check(handle, "seek")
  return nil, "Illegal seek", "ESPIPE"
end

function methods.read(handle)
  check(handle, "read")
  return nil, "Bad file descriptor", "EBADF"
end

function methods.lines(handle)
  check(handle, "lines")
  return function()
    error("Bad file descriptor", 2)
  end
end

function metatable.__tostring(handle)
  return ("file (%p)"):format(handle)
end

return M
