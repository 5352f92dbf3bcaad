-- os and io as a worker has them: the same names and results as in the manual, over processes that do not block, and
-- with the log as standard output. Files stay Lua's own.

local core = require "moonpool.core"
local later = require "moonpool.later"
local stdout = require "moonpool.stdout"

local pipe = later "moonpool.pipe"

local M = {}

local function is_ours(value)
  return pipe.is_handle(value) or stdout.is_handle(value)
end

-- As luaL_checkstring, for argument `i` of `name`.
local function check_string(value, i, name)
  if type(value) == "number" then
    return tostring(value)
  elseif type(value) ~= "string" then
    local got = value == nil and "no value" or type(value)
    error(("bad argument #%d to '%s' (string expected, got %s)"):format(i, name, got), 3)
  end
  return value
end

local function execute(command)
  if command == nil then
    return true -- there is a shell
  end
  command = check_string(command, 1, "execute")
  local result, message, code
  if not core.yieldable() then
    result, message, code = pipe.run_blocking(command)
  else
    result, message, code = core.spawn { "/bin/sh", "-c", command } -- its output goes to the log
    result = result and core.wait(result)
  end
  if not result then
    return nil, message, code
  end
  return pipe.status(result)
end

local function popen(command, mode)
  command = check_string(command, 1, "popen")
  mode = mode == nil and "r" or check_string(mode, 2, "popen")
  if mode ~= "r" and mode ~= "w" then
    error("bad argument #2 to 'popen' (invalid mode)", 2)
  end
  return pipe.open(command, mode)
end

local function exit()
  error("os.exit: the worker is not the app's to end; return from the handler, or raise an error", 2)
end

-- The functions of io that take a handle, or use the default ones. `stock` is Lua's own io; a default that is one of
-- our handles is kept in `default`, any other by the stock library.
local function new_io(stock, standard_output)
  local default = { input = nil, output = standard_output }
  local io = {}

  local function choose(which)
    return function(file)
      if is_ours(file) then
        default[which] = file
        return file
      elseif file == nil then
        return default[which] or stock[which]()
      end
      local opened = stock[which](file)
      default[which] = nil
      return opened
    end
  end
  io.input, io.output = choose "input", choose "output"

  function io.type(value)
    if pipe.is_handle(value) then
      return pipe.is_closed(value) and "closed file" or "file"
    elseif stdout.is_handle(value) then
      return "file"
    end
    return stock.type(value)
  end

  function io.close(file)
    return (file == nil and io.output() or file):close()
  end

  function io.read(...)
    return io.input():read(...)
  end

  function io.write(...)
    return io.output():write(...)
  end

  function io.lines(name, ...)
    if name ~= nil then
      return stock.lines(name, ...)
    end
    return io.input():lines(...)
  end

  io.popen = popen
  io.stdout = standard_output or stock.stdout
  return io
end

local function new_print(standard_output)
  return function(...)
    local parts = table.pack(...)
    for i = 1, parts.n do
      parts[i] = tostring(parts[i])
    end
    stdout.write(standard_output, table.concat(parts, "\t", 1, parts.n) .. "\n")
  end
end

--- Puts the worker's versions into the tables given (the globals io and os). Returns print, and the handle that the
--- standard output now is.
function M.install(io_table, os_table)
  local standard_output = stdout.new()
  M.install_processes(io_table, os_table, standard_output)
  return new_print(standard_output), standard_output
end

--- The same without the log: what is written goes where Lua's own print writes, unless `standard_output` is given.
function M.install_processes(io_table, os_table, standard_output)
  local stock = {}
  for name, value in pairs(io_table) do
    stock[name] = value
  end
  for name, value in pairs(new_io(stock, standard_output)) do
    io_table[name] = value
  end
  os_table.execute, os_table.exit = execute, exit
end

return M
