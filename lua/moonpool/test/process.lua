-- Fake children: what moonpool.run, moonpool.spawn, os.execute and io.popen would start is played instead.

local blocks = require "moonpool.test.block"
local check = require "moonpool.test.check"
local core = require "moonpool.core"
local trial = core.trial

local M = {}
local metatable = { __name = "moonpool.test.process" }

local fakes = {}  -- latest first
local refuse = 0  -- how many want processes that are not faked to be refused
local stage       -- the realm in which plays run

local ANSWER = {
  stdout = "string", stderr = "string", code = "number", signal = "string number", delay = "number", error = "string",
  ignore = "string", reads = "boolean",
}

---- which one

local function words_of(command)
  local words = {}
  for word in command:gmatch("%S+") do
    words[#words + 1] = word
  end
  return words
end

-- A shell with a simple command is that command; of any other the first word tells.
local function command_of(options)
  local shell = options[1] == "/bin/sh" and options[2] == "-c" and options[3]
  if not shell then
    return table.move(options, 1, #options, 1, {})
  end
  local words = words_of(shell)
  while words[1] and words[1]:find("^[%a_][%w_]*=") do
    table.remove(words, 1)
  end
  if shell:find("[|&;<>()$`\\\"'*?%[%]#~%%{}\n]") then
    return { words[1] or "", shell = shell }
  end
  words.shell = shell
  return words
end

local function fits(fake, name)
  return fake.name == name or fake.name == "*" or not fake.name:find("/", 1, true) and name:match("[^/]*$") == fake.name
end

local function find(name)
  for _, fake in ipairs(fakes) do
    if fits(fake, name) then
      return fake
    end
  end
end

---- what it says

local function check_answer(answer, level)
  check.options("process", answer, ANSWER, level + 1)
  if answer.code and answer.signal then
    error("process: code and signal exclude each other", level + 1)
  end
  return answer
end

local SIGNALS = { HUP = 1, INT = 2, QUIT = 3, ILL = 4, TRAP = 5, ABRT = 6, BUS = 7, FPE = 8, KILL = 9, USR1 = 10,
  SEGV = 11, USR2 = 12, PIPE = 13, ALRM = 14, TERM = 15, STKFLT = 16, CHLD = 17, CONT = 18, STOP = 19, TSTP = 20,
  TTIN = 21, TTOU = 22, URG = 23, XCPU = 24, XFSZ = 25, VTALRM = 26, PROF = 27, WINCH = 28, IO = 29, PWR = 30,
  SYS = 31 }

local function signal_number(signal)
  local number = type(signal) == "number" and signal or SIGNALS[signal:upper():gsub("^SIG", "")]
  return number or error("process: there is no signal " .. tostring(signal), 0)
end

local function block_of(word, bytes)
  return bytes and bytes ~= "" and ("%s %d\n%s"):format(word, #bytes, bytes) or ""
end

local function end_of(answer)
  if answer.signal then
    return ("kill %d\n"):format(signal_number(answer.signal))
  end
  return ("exit %d\n"):format(answer.code or 0)
end

local function output_of(answer)
  return block_of("out", answer.stdout) .. block_of("err", answer.stderr)
end

---- the play: told over a wire to the process that stands in

local Child = { __name = "moonpool.test.child" }
Child.__index = Child

function Child:write(bytes)
  return self.wire:write(block_of("out", bytes))
end

function Child:write_error(bytes)
  return self.wire:write(block_of("err", bytes))
end

local function fill(child)
  local bytes = child.wire:read()
  child.buffer = child.buffer .. (bytes or "")
  return bytes ~= nil
end

--- The next bytes of its stdin; nil at the end.
function Child:read()
  if self.over or not self.wire:write "read\n" then
    return nil
  end
  while not self.buffer:find "\n" do
    if not fill(self) then return nil end
  end
  local n, rest = self.buffer:match("^input (%d+)\n(.*)$")
  self.buffer, n = rest, tonumber(n)
  while #self.buffer < n do
    if not fill(self) then return nil end
  end
  local piece = self.buffer:sub(1, n)
  self.buffer = self.buffer:sub(n + 1)
  self.over = n == 0
  return not self.over and piece or nil
end

local function read_all(child)
  local parts = {}
  for piece in Child.read, child do
    parts[#parts + 1] = piece
  end
  return table.concat(parts)
end

local function feeds(options)
  return options.input ~= nil or options.stdin == "pipe"
end

local function perform(fake, call, options, wire)
  local _ <close> = setmetatable({}, { __close = function() wire:close() end })
  local child = setmetatable({ wire = wire, buffer = "" }, Child)
  local answer = fake.answer
  if type(answer) ~= "function" and answer.ignore then
    wire:write(("ignore %d\n"):format(signal_number(answer.ignore)))
  end
  local reads = type(answer) == "function" or answer.reads ~= false
  if reads and feeds(options) and not fake.interactive then
    call.input = read_all(child)
  end
  if type(answer) == "function" then
    answer = check_answer(answer(call.argv, call.input, child) or {}, 1)
  end
  if answer.delay then
    core.sleep(answer.delay)
  end
  wire:write(output_of(answer))
  wire:write(end_of(answer))
  call.ended = true
  while wire:read() do end -- until it is gone
end

local function play_for(fake, call, options)
  return function(wire)
    stage:spawn(function()
      local ok, err = xpcall(perform, debug.traceback, fake, call, options, wire)
      if not ok then
        table.insert(fake.block.problems, ("the fake %s failed: %s"):format(fake.name, tostring(err)))
      end
    end)
  end
end

-- The loop stands still: the process is given all that it is to do at once.
local function script_for(fake, call, options)
  local answer = fake.answer
  call.input = options.input
  if type(answer) == "function" then
    answer = check_answer(answer(call.argv, call.input) or {}, 1)
  end
  local pause = answer.delay and ("sleep %d\n"):format(math.ceil(answer.delay * 1000)) or ""
  return pause .. output_of(answer) .. end_of(answer)
end

local function refuse_it(name)
  error(("process: %s is not faked, and this test starts no other"):format(name), 0)
end

local function on_start(options, blocking)
  local argv = command_of(options)
  local fake = find(argv[1])
  if not fake then
    return refuse > 0 and refuse_it(argv[1]) or nil
  end
  local call = { argv = argv, input = options.input, cwd = options.cwd, env = options.env, setenv = options.setenv }
  table.insert(fake.calls, call)
  if type(fake.answer) == "table" and fake.answer.error then
    return false, fake.answer.error
  end
  return (blocking and script_for or play_for)(fake, call, options)
end

---- the surface

local function remove(fake)
  for i, each in ipairs(fakes) do
    if each == fake then
      table.remove(fakes, i)
      break
    end
  end
  if #fakes == 0 and refuse == 0 then
    trial.set_faker(nil)
  end
end

local function open_stage()
  stage = stage or trial.realm(true)
  trial.set_faker(on_start)
end

metatable.__index = {
  close = function(fake) fake._close() end,
}
metatable.__close = metatable.__index.close

function metatable.__tostring(fake)
  return ("fake %s (%d calls)"):format(fake.name, #fake.calls)
end

function M.new(name, answer, options, level)
  check.type("process: the name", name, "string", level + 1)
  options = check.options("process", options, { interactive = "boolean" }, level + 1)
  answer = answer == nil and {} or answer
  if type(answer) ~= "function" then
    check_answer(answer, level + 1)
    if answer.signal then
      signal_number(answer.signal)
    end
  end
  local fake = setmetatable({ name = name, answer = answer, calls = {}, block = blocks.current(),
    interactive = options.interactive }, metatable)
  open_stage()
  table.insert(fakes, 1, fake)
  fake._close = blocks.on_close(function() remove(fake) end)
  return fake
end

--- At the end of all tests: plays that still run end.
function M.finish()
  if stage then
    stage:stop()
    stage:close()
    stage = nil
  end
end

--- From here to the end of the test a process that is not faked cannot be started: it raises.
function M.only_fakes()
  open_stage()
  refuse = refuse + 1
  return blocks.on_close(function()
    refuse = refuse - 1
    remove(nil)
  end)
end

return M
