-- What io.popen returns: a file-like handle on a shell command (manual 6.8). Its reads, writes and its close wait
-- without holding the worker. Where nothing can wait (core.yieldable() is false) the command is run to its end at
-- once: for reading before the first byte is given, for writing when the handle is closed.

local core = require "moonpool.core"
local reader = require "moonpool.reader"

local M = {}
local methods = {}
local metatable = { __index = methods, __name = "FILE*" }

M.methods = methods

function M.is_handle(value)
  return getmetatable(value) == metatable
end

---- results

--- A process's result as os.execute and the close of a popen handle give it.
function M.status(result)
  if result.reason == "exit" then
    return result.code == 0 or nil, "exit", result.code
  elseif result.reason == "signal" then
    return nil, "signal", result.signal
  end
  return nil, "lost"
end

local function bad_descriptor()
  return nil, "Bad file descriptor", "EBADF"
end

--- Output that was meant for the log, of a command that was run to its end at once.
function M.log_output(text)
  for line in (text or ""):gmatch("[^\n]+") do
    core.log("info", line)
  end
end

---- the two ways of running the command

local function shell(command, options)
  options[1], options[2], options[3] = "/bin/sh", "-c", command
  return options
end

-- One piece, then the end; what did not fit is an error, not an end.
local function source_of(result)
  local piece = result.stdout or ""
  return function()
    if piece then
      local whole = piece
      piece = nil
      return whole
    elseif result.truncated == "stdout" or result.truncated == "both" then
      return nil, "the output of the command was cut at its limit", "EFBIG"
    end
  end
end

local OPEN = { live = {}, blocking = {} }

function OPEN.live.r(command)
  local process, message, code = core.spawn(shell(command, { stdout = "pipe" }))
  if not process then
    return nil, message, code
  end
  return { _process = process, _reader = reader.new(function() return process.stdout:read() end) }
end

function OPEN.live.w(command)
  local process, message, code = core.spawn(shell(command, { stdin = "pipe" }))
  return process and { _process = process }, message, code
end

function OPEN.blocking.r(command)
  local result, message, code = core.blocking_run(shell(command, {}))
  if not result then
    return nil, message, code
  end
  M.log_output(result.stderr)
  return { _result = result, _reader = reader.new(source_of(result)) }
end

function OPEN.blocking.w(command)
  return { _command = command, _written = {} }
end

--- io.popen. `mode` is "r" or "w". → handle, or nil, message, code
function M.open(command, mode)
  local way = core.yieldable() and OPEN.live or OPEN.blocking
  local handle, message, code = way[mode](command)
  if not handle then
    return nil, message, code
  end
  handle._mode = mode
  return setmetatable(handle, metatable)
end

local function stream_of(handle)
  local process = handle._process
  return handle._mode == "r" and process.stdout or process.stdin
end

local function end_process(handle)
  stream_of(handle):close()
  return core.wait(handle._process)
end

local function end_blocking(handle)
  if handle._result then
    return handle._result
  end
  return M.run_blocking(handle._command, table.concat(handle._written))
end

--- Runs a command to its end, its output to the log. → its result, or nil, message, code
function M.run_blocking(command, input)
  local result, message, code = core.blocking_run(shell(command, { input = input, stderr = "stdout" }))
  M.log_output(result and result.stdout)
  return result, message, code
end

---- the methods of files

local function check_open(handle, name)
  if not M.is_handle(handle) then
    error(("bad argument #1 to '%s' (FILE* expected, got %s)"):format(name, type(handle)), 3)
  elseif handle._closed then
    error("attempt to use a closed file", 3)
  end
end

function methods.read(handle, ...)
  check_open(handle, "read")
  reader.check_formats("read", 2, ...)
  if not handle._reader then
    return bad_descriptor()
  end
  return handle._reader:read(...)
end

-- Gives what was read on to the loop, or raises what went wrong. Called as a tail call: level 2 is the loop.
local function next_or_raise(first, message, ...)
  if first == nil and message then
    error(message, 2)
  end
  return first, message, ...
end

function methods.lines(handle, ...)
  check_open(handle, "lines")
  reader.check_formats("lines", 2, ...)
  local formats = table.pack(...)
  return function()
    if handle._closed then
      error("file is already closed", 2)
    elseif not handle._reader then
      error("Bad file descriptor", 2)
    end
    return next_or_raise(handle._reader:read(table.unpack(formats, 1, formats.n)))
  end
end

--- The arguments of a write as one string, as Lua prints them.
function M.join(level, ...)
  local parts = {}
  for i = 1, select("#", ...) do
    local value = select(i, ...)
    local kind = math.type(value)
    if kind then
      value = kind == "float" and ("%.14g"):format(value) or tostring(value)
    elseif type(value) ~= "string" then
      error(("bad argument #%d to 'write' (string expected, got %s)"):format(i, type(value)), level + 1)
    end
    parts[i] = value
  end
  return table.concat(parts)
end

function methods.write(handle, ...)
  check_open(handle, "write")
  local text = M.join(2, ...)
  if handle._mode ~= "w" then
    return bad_descriptor()
  elseif handle._written then
    table.insert(handle._written, text)
  elseif text ~= "" then
    local ok, message, code = handle._process.stdin:write(text)
    if not ok then
      return nil, message, code
    end
  end
  return handle
end

--- Nothing is held back here: what was written is on its way.
function methods.flush(handle)
  check_open(handle, "flush")
  return true
end

function methods.setvbuf(handle, mode)
  check_open(handle, "setvbuf")
  if mode ~= "no" and mode ~= "full" and mode ~= "line" then
    error(("bad argument #1 to 'setvbuf' (invalid option '%s')"):format(tostring(mode)), 2)
  end
  return true
end

function methods.seek(handle)
  check_open(handle, "seek")
  return nil, "Illegal seek", "ESPIPE"
end

--- Waits for the command and gives its status as os.execute does.
function methods.close(handle)
  check_open(handle, "close")
  handle._closed = true
  local result, message, code = (handle._process and end_process or end_blocking)(handle)
  if not result then
    return nil, message, code
  end
  return M.status(result)
end

function M.is_closed(handle)
  return handle._closed or false
end

-- Left by an error, nobody is interested in the command any more: it is stopped, not waited for. Where nothing can wait
-- that is left to its scope.
local function abandon(handle)
  handle._closed = true
  stream_of(handle):close()
  if core.yieldable() then
    handle._process:stop()
  end
end

function metatable.__close(handle, err)
  if handle._closed then
    return
  elseif err ~= nil and handle._process then
    abandon(handle)
  elseif err == nil then
    handle:close()
  end
end

function metatable.__tostring(handle)
  return handle._closed and "file (closed)" or ("file (%p)"):format(handle)
end

return M
