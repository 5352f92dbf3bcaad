-- Many unpleasant clients at once (crowd.c), as a process beside the spec.
local host = require "host"
local wait = require "spec.support.wait"

local M = {}
local Crowd = {}
Crowd.__index = Crowd

local program = (os.getenv "SPEC_MODULES" or ".") .. "/crowd"

-- `kind`: see crowd.c. It goes by itself after `seconds`.
function M.start(kind, count, port, seconds)
  local folder = assert(host.tempdir())
  local crowd = setmetatable({ kind = kind, count = count, folder = folder, out = folder .. "/out" }, Crowd)
  crowd.pid = assert(host.start {
    argv = { program, kind, tostring(count), tostring(port), tostring(seconds) }, out = crowd.out, err = folder .. "/err",
  })
  return crowd
end

local function said(crowd)
  local file = io.open(crowd.out)
  local text = file and file:read "a" or ""
  if file then file:close() end
  return text
end

function Crowd:over()
  if not self.ended then
    local how = host.wait(self.pid)
    self.ended = how ~= "running"
  end
  return self.ended
end

-- All are connected and have said what they begin with.
function Crowd:wait_held()
  wait.until_true(function() return said(self):find "^held" end, 10, "a crowd to connect: " .. self.kind)
end

-- How many the server has ended, and how long after the beginning the first and the last of them, in seconds.
function Crowd:wait_over(timeout)
  wait.until_true(function() return self:over() end, timeout, "the end of a crowd: " .. self.kind)
  local n, first, last = said(self):match "closed (%d+) (%d+) (%d+)"
  self:clean()
  return tonumber(n), tonumber(first) / 1000, tonumber(last) / 1000
end

-- Ends it; the kernel closes its connections.
function Crowd:stop()
  if not self:over() then host.kill(self.pid, "KILL") end
  wait.until_true(function() return self:over() end, 5, "the end of a crowd: " .. self.kind)
  self:clean()
end

function Crowd:clean()
  os.remove(self.out)
  os.remove(self.folder .. "/err")
  os.remove(self.folder)
end

return M
