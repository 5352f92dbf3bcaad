-- `moonpool test`: busted, with the loop underneath. Busted itself runs in a task; each test, and each function before
-- and after it, in one of its own, so that all of them may wait, and one that does not come back can be ended.

local blocks = require "moonpool.test.block"
local core = require "moonpool.core"
local osio = require "moonpool.osio"
local yielding = require "moonpool.require"
require "moonpool.messages"
local trial = core.trial

local M = {}

local DEFAULT_TIMEOUT = 30
local close_timeout = DEFAULT_TIMEOUT
local LEAVES = {
  it = true, finally = true, before_each = true, after_each = true, strict_setup = true, strict_teardown = true,
  lazy_setup = true, lazy_teardown = true, describe = true, file = true,
}

---- words and paths

local function complain(...)
  io.stderr:write("moonpool: test: ", string.format(...), "\n")
  return 2
end

-- → the words for busted, seconds; or nil and what is wrong
local function read_words(...)
  local words, seconds, i, given = {}, DEFAULT_TIMEOUT, 1, { ... }
  while i <= #given do
    local value = given[i]:match("^%-%-test%-timeout=(.*)$")
    if given[i] == "--test-timeout" then
      i = i + 1
      value = given[i] or ""
    end
    if value then
      seconds = tonumber(value)
      if not seconds or seconds < 0 or seconds ~= seconds then
        return nil, ("--test-timeout: a number of seconds is wanted, not %q"):format(value)
      end
    else
      words[#words + 1] = given[i]
    end
    i = i + 1
  end
  return words, seconds
end

-- Relative entries stay what they mean now, whatever folder an app under test is at home in.
local function make_absolute(paths, here)
  return ((";" .. paths):gsub(";%./", ";" .. here .. "/"):sub(2))
end

local function set_paths()
  local here, home = trial.getcwd(), os.getenv "HOME"
  local path, cpath = { package.path }, { package.cpath }
  for _, tree in ipairs { here .. "/lua_modules", home and home .. "/.luarocks" } do
    table.insert(path, 1, ("%s/share/lua/5.4/?.lua;%s/share/lua/5.4/?/init.lua"):format(tree, tree))
    table.insert(cpath, 1, tree .. "/lib/lua/5.4/?.so")
  end
  package.path = make_absolute(table.concat(path, ";"), here)
  package.cpath = make_absolute(table.concat(cpath, ";"), here)
end

---- one function of a test

-- What busted says of a test that was ended: not that it was cancelled.
local function tell_why(busted, state)
  local rewrite = busted.rewriteMessage
  function busted.rewriteMessage(element, message, trace)
    if state.ended and message == core.cancelled then
      message = state.ended
    end
    return rewrite(element, message, trace)
  end
end

-- Runs fn in a task of the block. → true and what it returned; or false, its error and traceback
local function in_task(block, seconds, state, fn)
  local result
  local task = block.realm:spawn(function() result = table.pack(fn()) end)
  task.name = block.name
  state.ended = seconds > 0 and ("did not end within %g s"):format(seconds) or nil
  local alarm = seconds > 0 and trial.alarm(seconds, task)
  local _, err = pcall(core.wait, task)
  local rang = alarm and alarm:close()
  if result then -- though it was cancelled on the way there
    return true, result
  end
  return false, rang and state.ended or err, task:traceback()
end

-- Lua holds its task too long, or does not take its cancellation: it is ended in the middle of what busted does for it.
local function publish_end(busted, element, err, traceback)
  local trace = { short_src = element.trace and element.trace.short_src or "?",
    currentline = element.trace and element.trace.currentline or 0, message = err,
    traceback = "\n" .. (traceback or "") }
  local message = ("%s:%d: %s"):format(trace.short_src, trace.currentline, tostring(err))
  busted.publish({ "error", element.descriptor }, element, busted.context.parent(element), message, trace)
end

local function wrap_safe(busted, seconds)
  local safe, state = busted.safe, {}
  tell_why(busted, state)
  function busted.safe(descriptor, run, element)
    if not LEAVES[descriptor] or descriptor ~= "finally" and run ~= element.run then -- busted's own, around a test
      return safe(descriptor, run, element)
    end
    local context = busted.context.get()
    local whole, result, traceback = in_task(blocks.current(), seconds, state, function()
      return safe(descriptor, run, element)
    end)
    if whole then
      return table.unpack(result, 1, result.n)
    end
    while busted.context.get() ~= context do
      busted.context.pop()
    end
    publish_end(busted, element, result, traceback)
    return busted.status "error"
  end
end

---- blocks

local function full_name(busted, element)
  local names = {}
  repeat
    table.insert(names, 1, element.name)
    element = busted.context.parent(element)
  until not element or element.descriptor == "file"
  return table.concat(names, " ")
end

-- Ends the block; what went wrong in it is told as the element's own.
local function close_block(busted, block, element, status)
  local problems = blocks.close(block, close_timeout)
  if #problems == 0 then
    return true
  end
  local trace = element.trace or { short_src = element.name or "?", currentline = 0, traceback = "" }
  local message = ("%s:%d: %s: %s"):format(trace.short_src, trace.currentline, block.name,
    table.concat(problems, "\n"))
  busted.publish({ status, element.descriptor }, element, busted.context.parent(element), message, trace)
  return false
end

-- As busted's own, but the test is over when its block is: an after_each may still close what the test has opened.
local function new_it(busted)
  local block = require "busted.block" (busted)
  local function run(element, parent)
    local finally
    local status = busted.status "success"
    element.env.finally = function(fn) finally = fn end
    if not busted.safe_publish("test", { "test", "start" }, element, parent) then
      return busted.status "error"
    end
    status:update(busted.safe("it", element.run, element))
    if finally then
      block.reject("pending", element)
      status:update(busted.safe("finally", finally, element))
    end
    return status
  end
  return function(element)
    local parent = busted.context.parent(element)
    if not block.lazySetup(parent) then
      return
    end
    element.env = element.env or {}
    block.rejectAll(element)
    element.env.pending = busted.pending
    local own = blocks.open(full_name(busted, element))
    local pass, ancestor = block.execAll("before_each", parent, true)
    local status = pass and run(element, parent)
    block.dexecAll("after_each", ancestor, true)
    local clean = close_block(busted, own, element, "failure")
    if status then
      status:update(clean and "success" or "failure")
      busted.safe_publish("test", { "test", "end" }, element, parent, tostring(status))
    end
  end
end

local GROUPS = { suite = true, file = true, describe = true }

-- Not by subscribing: a listing of the tests keeps what it subscribes to from everybody else.
local function follow_blocks(busted)
  local open, publish = {}, busted.safe_publish
  function busted.safe_publish(descriptor, channel, element, ...)
    if GROUPS[channel[1]] and channel[2] == "start" then
      table.insert(open, blocks.open(channel[1] == "suite" and "the suite" or element.name))
    elseif GROUPS[channel[1]] and channel[2] == "end" then
      close_block(busted, table.remove(open), element, "error")
    end
    return publish(descriptor, channel, element, ...)
  end
end

---- busted

local function take_over(busted, seconds)
  local register = busted.register
  function busted.register(descriptor, executor, attributes)
    if descriptor == "it" and type(executor) == "function" then
      executor = new_it(busted)
    end
    return register(descriptor, executor, attributes)
  end
  wrap_safe(busted, seconds)
  follow_blocks(busted)
end

local EXIT = setmetatable({}, { __tostring = function() return "exit" end })

local function patch(seconds)
  local make = require "busted.core"
  package.loaded["busted.core"] = function(...)
    local busted = make(...)
    take_over(busted, seconds)
    return busted
  end
  require "busted.compatibility".exit = function(code)
    EXIT.code = code
    error(EXIT, 0)
  end
end

-- Modules that a spec file loads are forgotten at its end: ours are to be the same for all of them.
local function load_ours()
  for _, name in ipairs { "moonpool", "moonpool.test", "moonpool.dispatch", "moonpool.form", "moonpool.cookie" } do
    yielding.require(name)
  end
end

-- The name of the chunk is what busted calls itself in messages.
local call_runner = load("local runner = ... runner { standalone = false }", "@moonpool test")

local function help()
  print [[usage: moonpool test [FILE|DIR …] [--test-timeout S] [--config FILE] [--lua DIR] [options of busted]

  --test-timeout S   a test that takes longer is ended, and has failed; 0: any time (30)
  --config FILE      settings, instead of moonpool.conf.lua in this folder
  --lua DIR          Moonpool's own Lua from there

Exit 0 when all is green, 1 when not, 2 for wrong usage or where busted is missing. The options of busted are told by
`busted --help`; docs/testing.md tells the rest.]]
  return 0
end

--- → the exit code
function M.main(...)
  local words, seconds = read_words(...)
  if not words then
    return complain("%s", seconds)
  end
  for _, word in ipairs(words) do
    if word == "--help" or word == "-h" then
      return help()
    end
  end
  set_paths()
  if not package.searchpath("busted.runner", package.path) then
    return complain("busted is not installed: Debian's package lua-busted has it, or `luarocks install busted`")
  end
  osio.install_processes(io, os)
  require = yielding.require
  load_ours()
  close_timeout = seconds
  patch(seconds)
  table.insert(words, 1, "--ignore-lua")
  arg = words
  local ok, err = xpcall(call_runner, function(e)
    return e == EXIT and e or debug.traceback(tostring(e), 2)
  end, require "busted.runner")
  io.stdout:flush()
  blocks.abandon()
  require "moonpool.test.process".finish()
  if ok then
    return 0
  elseif err == EXIT then
    return EXIT.code == 0 and 0 or 1
  end
  io.stderr:write("moonpool: test: ", err, "\n")
  return 1
end

return M
