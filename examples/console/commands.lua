-- The commands of the console. Nobody types one: each is in this list, and its argument is held against a pattern, so
-- that it is a word of a command and never an option or a shell's.

local moonpool = require "moonpool"

local M = {}

local ADDRESS = { label = "address", pattern = "^%w[%w.:-]*$", most = 253, example = "127.0.0.1" }

M.list = {
  { name = "ping", about = "does an address answer?", argv = { "ping", "-c", "4" }, argument = ADDRESS },
  { name = "addresses", about = "of this device", argv = { "ip", "address" } },
  { name = "routes", about = "where packets go", argv = { "ip", "route" } },
  { name = "disks", about = "how full they are", argv = { "df", "-h" } },
  { name = "processes", about = "what runs", argv = { "ps", "ax" } },
  { name = "hang", about = "a helper that hangs: nothing else does", argv = { "sleep", "3600" } },
}

local LONGEST = 10       -- seconds
local MOST = 256 * 1024  -- bytes of output

local by_name = {}
for _, command in ipairs(M.list) do
  by_name[command.name] = command
end

--- The words of a command, or nil and what is wrong.
function M.argv(name, argument)
  local command = by_name[name]
  if not command then
    return nil, "there is no such command"
  end
  local argv, wanted = table.move(command.argv, 1, #command.argv, 1, {}), command.argument
  if wanted then
    if type(argument) ~= "string" or #argument > wanted.most or not argument:find(wanted.pattern) then
      return nil, ("an %s is wanted, such as %s"):format(wanted.label, wanted.example)
    end
    argv[#argv + 1] = argument
  end
  return argv
end

-- How it ended, for who reads its output.
local function outcome(result)
  if result.timed_out then
    return ("ended after %d s"):format(LONGEST)
  elseif result.reason == "exit" then
    return result.code == 0 and "done" or ("exit code %d"):format(result.code)
  end
  return "ended by a signal"
end

--- Runs it and gives out what it says, while it says it.
function M.run(argv, give)
  give(("$ %s\n"):format(table.concat(argv, " ")))
  argv.stdout, argv.stderr, argv.timeout = "pipe", "stdout", LONGEST
  local process <close>, why = moonpool.spawn(argv)
  if not process then
    return give(("[%s]\n"):format(why))
  end
  local given = 0
  for piece in function() return process.stdout:read() end do
    given = given + #piece
    if given > MOST then
      process:stop()
      return give "\n[more was said than is shown here]\n"
    end
    give(piece)
  end
  give(("[%s]\n"):format(outcome(process:wait())))
end

return M
