-- One moonpool under test: started on a free port, ready when start returns, proved clean when stop returns.
local client = require "spec.support.client"
local host = require "host"
local lfs = require "lfs"
local proc = require "spec.support.proc"
local wait = require "spec.support.wait"

assert(host.subreaper())

local M = {}
local Server = {}
Server.__index = Server

local running = {} -- pid -> server

M.binary = assert(os.getenv "MOONPOOL", "MOONPOOL names the binary under test")

-- What no log of a healthy server holds, whatever the spec.
local faults = {
  "ERROR: AddressSanitizer", "ERROR: LeakSanitizer", "WARNING: ThreadSanitizer", "AddressSanitizer:DEADLYSIGNAL",
  "runtime error: ", "moonpool: broken invariant", "moonpool: bug",
}

local function slurp(path)
  local file = io.open(path, "rb")
  if not file then return "" end
  local text = file:read "a"
  file:close()
  return text
end

local function write_file(path, text, mode)
  local file = assert(io.open(path, "wb"))
  assert(file:write(text))
  assert(file:close())
  if mode then assert(os.execute(("chmod %s '%s'"):format(mode, path))) end
end
M.write_file, M.read_file = write_file, slurp

function M.write_script(path, text)
  write_file(path, "#!/bin/sh\n" .. text, "755")
end

-- Only for folders that this file made.
local function remove_folder(path)
  assert(path:find "moonpool%-spec%-", "not a folder of ours: " .. path)
  for name in lfs.dir(path) do
    local at = path .. "/" .. name
    if name ~= "." and name ~= ".." then
      if lfs.symlinkattributes(at, "mode") == "directory" then remove_folder(at) else os.remove(at) end
    end
  end
  lfs.rmdir(path)
end

-- The spec's own environment without what would reach into the server; `changes`: NAME -> value, or false for none.
local function environment(changes)
  local env = {}
  for _, pair in ipairs(host.environ()) do
    local name = pair:match "^([^=]+)="
    local ours = name and (name:find "^LUA_" or name:find "^MOONPOOL" or name:find "^SPEC_" or name:find "^LISTEN_"
      or name == "NOTIFY_SOCKET")
    if not ours and changes[name] == nil then env[#env + 1] = pair end
  end
  for name, value in pairs(changes) do
    if value then env[#env + 1] = name .. "=" .. value end
  end
  return env
end

-- Lua text goes to app.lua in the server's own folder, with `files` (name -> text) beside it.
local function lay_out(s, options)
  local app = options.app
  s.folder = assert(host.tempdir())
  if options.open then assert(os.execute(("chmod 755 '%s'"):format(s.folder))) end
  for name, text in pairs(options.files or {}) do
    for slash in name:gmatch "()/" do lfs.mkdir(s.folder .. "/" .. name:sub(1, slash - 1)) end
    write_file(s.folder .. "/" .. name, text, name:find "%.sh$" and "755" or nil)
  end
  if app and not app:find "[\n ]" then
    local laid_out = s.folder .. "/" .. app
    s.app = lfs.attributes(laid_out, "mode") and laid_out or app
  elseif app then
    s.app = s.folder .. "/app.lua"
    write_file(s.app, app)
  end
end

local function arguments(s, options)
  local binary = options.binary or M.binary
  if options.argv then return { binary, table.unpack(options.argv) } end
  local argv = table.move(options.wrapper or {}, 1, #(options.wrapper or {}), 1, {})
  for _, arg in ipairs { binary, options.verb or "serve", s.app } do argv[#argv + 1] = arg end
  if not options.bare then
    for _, arg in ipairs { "--listen", options.listen or "127.0.0.1:0", "--workers", tostring(s.size) } do
      argv[#argv + 1] = arg
    end
  end
  for _, arg in ipairs(options.args or {}) do argv[#argv + 1] = tostring(arg) end
  return argv
end

-- Starts and returns at once; for servers that are expected to fail, and for other verbs (`argv`).
function M.launch(options)
  local s = setmetatable({ size = options.workers or 1 }, Server)
  lay_out(s, options)
  s.log_file, s.out_file = s.folder .. "/stderr", s.folder .. "/stdout"
  local changes = { LUA_CPATH = (os.getenv "SPEC_MODULES" or ".") .. "/?.so;;" }
  for name, value in pairs(options.env or {}) do changes[name] = value end
  s.pid = assert(host.start {
    argv = arguments(s, options), env = environment(changes), out = s.out_file, err = s.log_file,
    cwd = options.cwd, nofile = options.nofile, fds = options.fds,
    lacks = options.lacks,
  })
  running[s.pid] = s
  return s
end

-- options: app (path of a file or folder, among `files` or not; or Lua text), workers (1), args, env, files, nofile, cwd,
-- fds (become 3, 4, …), lacks (what the kernel does not know for it: names of support/oldkernel.h), binary,
-- wrapper (words in front of it), open (its folder may be read by everybody);
-- verb (serve), bare: addresses and workers are not given as flags, `workers` says how many there will be.
function M.start(options)
  local s = M.launch(options)
  local ok, err = pcall(s.wait_ready, s)
  if not ok then
    s:abandon()
    error(err, 2)
  end
  return s
end

-- Waits until another master has taken over and the old one has left with 0; `self` is the new one from then on.
function Server:follow(timeout)
  local old, heir = self.pid, nil
  self.followed = (self.followed or 0) + 1
  wait.until_true(function()
    local n = 0
    for pid in self:log():gmatch "this is the master now pid=(%d+)" do
      n, heir = n + 1, tonumber(pid)
    end
    return n >= self.followed
  end, timeout or 20, "the new master; the log:\n" .. self:log())
  self:wait_exit(20)
  assert(self.ended == "exit" and self.number == 0, ("the old master ended by %s %s"):format(self.ended, self.number))
  self.ended, self.number, self.pid = nil, nil, heir
  running[heir] = self
  return old
end

-- For a spec that has ended the master itself: `pid` is the server from now on.
function M.adopt(s, pid)
  s.ended, s.number, s.pid = nil, nil, pid
  s.followed = (s.followed or 0) + 1
  running[pid] = s
end

function Server:log() return slurp(self.log_file) end
function Server:out() return slurp(self.out_file) end

-- How many lines of the log match.
function Server:count_log(pattern)
  local n = 0
  for line in self:log():gmatch "[^\n]+" do
    if line:find(pattern) then n = n + 1 end
  end
  return n
end

-- Waits for the `nth` (1) line that matches; its captures, or the line.
function Server:wait_log(pattern, timeout, nth)
  local captures = wait.until_true(function()
    local n = 0
    for line in self:log():gmatch "[^\n]+" do
      if line:find(pattern) then
        n = n + 1
        if n == (nth or 1) then return table.pack(line:match(pattern)) end
      end
    end
    return not self:poll() and error("server ended while the log was awaited:\n" .. self:log(), 0)
  end, timeout, ("%q in the log; it has:\n%s"):format(pattern, self:log()))
  return table.unpack(captures, 1, captures.n)
end

function Server:wait_ready()
  self.port = tonumber(self:wait_log "listening on http://[^%s]*:(%d+)")
  self:wait_log("worker ready", 10, self.size)
end

-- True while it runs; remembers how it ended.
function Server:poll()
  if self.ended then return false end
  local how, number = host.wait(self.pid)
  if how == "running" then return true end
  self.ended, self.number = assert(how, number), number
  running[self.pid] = nil
  return false
end

-- "exit", code or "signal", number.
function Server:wait_exit(timeout)
  wait.until_true(function() return not self:poll() end, timeout or 10, "the server's end; its log:\n" .. self:log())
  return self.ended, self.number
end

function Server:signal(name) return assert(host.kill(self.pid, name)) end

-- Pids of the workers that live now, in order: the master has no other lasting children.
function Server:workers() return proc.children(self.pid) end
function Server:worker() return self:workers()[1] end
function Server:descendants() return proc.descendants(self.pid) end

function Server:connect() return client.connect(self.port) end
function Server:get(path, options) return client.request(self.port, "GET", path, options) end
function Server:post(path, body, options)
  options = options or {}
  options.body = body
  return client.request(self.port, "POST", path, options)
end

local spared = function() return false end

-- What `test(pid)` is true of runs beside the servers and is no stranger: a browser. nil: nothing does.
function M.spare(test) spared = test or function() return false end end

-- What came to us because its parent died. The dead are reaped; the living are returned.
function M.strangers()
  local living = {}
  for _, stat in ipairs(proc.all()) do
    if stat.ppid == host.pid() and not running[stat.pid] and not spared(stat.pid) then
      if stat.state == "Z" then host.wait(stat.pid) else living[#living + 1] = stat.pid end
    end
  end
  return living
end

local function describe(pids)
  local lines = {}
  for _, pid in ipairs(pids) do lines[#lines + 1] = ("%d %s"):format(pid, proc.command(pid)) end
  return table.concat(lines, "\n")
end

-- Raises when anything of a server lives `grace` seconds on; it is ended first.
function M.nothing_left(grace)
  local deadline = wait.now() + (grace or 0)
  local left = M.strangers()
  while #left > 0 and wait.now() < deadline do
    wait.sleep(0.02)
    left = M.strangers()
  end
  local list = describe(left)
  for _, pid in ipairs(left) do host.kill(pid, "KILL") end
  if #left > 0 then error("left behind:\n" .. list, 2) end
end

-- Raises when the log tells of memory misused, leaked, or an invariant broken.
function Server:no_faults()
  local log = self:log()
  for _, fault in ipairs(faults) do
    local at = log:find(fault, 1, true)
    if at then error("the server's log has a fault:\n" .. log:sub(math.max(1, at - 200), at + 6000), 2) end
  end
end

-- Ends what is left without judging it; for a spec that has failed already.
function Server:abandon()
  if self:poll() then
    local below = self:descendants()
    host.kill(self.pid, "KILL")
    for _, pid in ipairs(below) do host.kill(pid, "KILL") end
    self:wait_exit()
  end
  remove_folder(self.folder)
end

-- After the end: how it ended, that stdout stayed empty, that nothing is left. `grace`: as for nothing_left.
function Server:finish(how, number, grace)
  local ok, err = pcall(function()
    local ended, code = self:wait_exit()
    self:no_faults()
    if ended ~= how or code ~= number then
      error(("ended by %s %d instead of %s %d; its log:\n%s"):format(ended, code, how, number, self:log()))
    end
    M.nothing_left(grace)
  end)
  self:abandon()
  if not ok then error(err, 2) end
end

-- TERM, exit 0, nothing left behind, nothing on stdout.
function Server:stop(timeout)
  if self:poll() then self:signal "TERM" end
  local ok, err = pcall(function()
    self:wait_exit(timeout)
    assert(self:out() == "", "stdout is not empty: " .. self:out())
  end)
  if not ok then
    self:abandon()
    error(err, 2)
  end
  self:finish("exit", 0)
end

-- For after_each: stops what the spec started and did not stop itself.
function M.stop_all()
  local first
  for _, s in pairs(running) do
    local ok, err = pcall(s.stop, s)
    if not ok then first = first or err end
  end
  if first then error(first, 0) end
end

return M
