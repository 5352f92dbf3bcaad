-- Programs that embed the server: built once against the installed library, then told what to do line by line.
local host = require "host"
local lfs = require "lfs"
local server = require "spec.support.server"
local wait = require "spec.support.wait"

local M = {}
local Host = {}
Host.__index = Host

local running = {} -- folder -> host

M.build = os.getenv "SPEC_BUILD"
M.flags = (os.getenv "SPEC_SANITIZE" or "") ~= "" and "-fsanitize=" .. os.getenv "SPEC_SANITIZE" or ""
M.pending = not M.build and "there is no libmoonpool in this build (MOONPOOL_LIBRARY)" or nil

-- What the command prints; raises when it fails.
function M.run(command)
  local pipe = assert(io.popen(command .. " 2>&1"))
  local text = pipe:read "a"
  local ok, how, number = pipe:close()
  if not ok then error(("%s: %s %s\n%s"):format(command, how, number, text), 2) end
  return text
end

local prefix

-- A folder in which the library is installed, for as long as this process lives.
function M.prefix()
  if not prefix then
    prefix = assert(host.tempdir())
    M.run(("cmake --install '%s' --component library --prefix '%s'"):format(M.build, prefix))
  end
  return prefix
end

function M.remove()
  if prefix then M.run(("rm -rf '%s'"):format(prefix)) end
  prefix = nil
end

-- The folder that has moonpool.pc, wherever this system keeps libraries.
function M.pkg_config_path()
  return M.run(("dirname \"$(find '%s' -name moonpool.pc)\""):format(M.prefix())):gsub("%s+$", "")
end

function M.pkg_config(words)
  return (M.run(("PKG_CONFIG_PATH='%s' pkg-config %s moonpool"):format(M.pkg_config_path(), words)):gsub("%s+$", ""))
end

-- Builds spec/embed/NAME.c; `static`: with the archive. → the program
function M.compile(name, static)
  local program = ("%s/%s%s"):format(M.prefix(), name, static and "-static" or "")
  local libs = static and M.pkg_config("--libs --static"):gsub("%-lmoonpool", "-l:libmoonpool.a")
    or M.pkg_config "--libs" .. " -Wl,-rpath," .. M.pkg_config_path():gsub("/pkgconfig$", "")
  M.run(("cc -std=gnu11 -g -O1 -Wall -Wextra -Werror %s %s 'spec/embed/%s.c' -o '%s' %s -luv -lpthread -rdynamic"):format(M.flags,
    M.pkg_config "--cflags", name, program, libs))
  return program
end

-- options: program, mode ("thread"), app (a path, or Lua text that may be changed later at `self.app`; spec/embed/app.lua),
-- settings (a list of NAME=VALUE), env.
function M.launch(options)
  local h = setmetatable({ folder = assert(host.tempdir()) }, Host)
  h.fifo, h.app = h.folder .. "/commands", options.app or lfs.currentdir() .. "/spec/embed/app.lua"
  if h.app:find "\n" then
    server.write_file(h.folder .. "/app.lua", h.app)
    h.app = h.folder .. "/app.lua"
  end
  M.run(("mkfifo '%s'"):format(h.fifo))
  local env, argv = { HOST_COMMANDS = h.fifo }, { options.mode or "thread", h.app }
  for name, value in pairs(options.env or {}) do env[name] = value end
  table.move(options.settings or { "listen=127.0.0.1:0" }, 1, #(options.settings or { 1 }), 3, argv)
  h.server = server.launch { binary = options.program, argv = argv, env = env }
  h.commands = assert(io.open(h.fifo, "r+"))
  h.commands:setvbuf "no"
  running[h.folder] = h
  return h
end

function M.start(options)
  local h = M.launch(options)
  local ok, why = pcall(h.wait, h, "^ready (.*)")
  if not ok then
    h:abandon()
    error(why, 2)
  end
  h:find_port()
  return h
end

function Host:find_port()
  self.port = tonumber(self:wait("^ready .-:(%d+)"))
  self.server.port = self.port
end

function Host:say(command) assert(self.commands:write(command, "\n")) end
function Host:get(path, options) return self.server:get(path, options) end
function Host:log() return self.server:log() end
function Host:pid() return self.server.pid end

-- The `nth` (1) line on its stdout that matches; its captures, or the line.
function Host:wait(pattern, nth, timeout)
  local captures = wait.until_true(function()
    local n = 0
    for line in self.server:out():gmatch "[^\n]+" do
      if line:find(pattern) then
        n = n + 1
        if n == (nth or 1) then return table.pack(line:match(pattern)) end
      end
    end
    return not self.server:poll() and error("the host ended while " .. pattern .. " was awaited:\n" .. self:told(), 0)
  end, timeout or 15, ("%q of the host, which says:\n%s"):format(pattern, self:told()))
  return table.unpack(captures, 1, captures.n)
end

function Host:told() return self.server:out() .. self.server:log() end

function Host:let_go()
  running[self.folder] = nil
  self.commands:close()
  M.run(("rm -rf '%s'"):format(self.folder))
end

-- It ends by itself with 0, and leaves nothing behind: no process, no memory, no fault in its log.
function Host:finish(grace)
  self:let_go()
  self.server:finish("exit", 0, grace)
end

function Host:quit(grace)
  self:say "quit"
  self:wait("^over")
  self:finish(grace)
end

function Host:abandon()
  self:let_go()
  self.server:abandon()
end

-- For after_each: what a spec that has failed left running.
function M.abandon_all()
  for _, h in pairs(running) do h:abandon() end
end

return M
