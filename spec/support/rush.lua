-- Clients that ask again and again and count what fails (rush.c), as a process beside the spec.
local host = require "host"
local wait = require "spec.support.wait"

local M = {}
local Rush = {}
Rush.__index = Rush

local program = (os.getenv "SPEC_MODULES" or ".") .. "/rush"

-- `keep` clients with a connection each, `once` with a new one for every request. Returns when each has had an answer.
function M.start(port, keep, once, path)
  local folder = assert(host.tempdir())
  local rush = setmetatable({ folder = folder, out = folder .. "/out" }, Rush)
  rush.pid = assert(host.start {
    argv = { program, tostring(keep), tostring(once), tostring(port), "600", path or "/" },
    out = rush.out, err = folder .. "/err",
  })
  wait.until_true(function() return rush:said():find "began" end, 10, "a rush to begin")
  return rush
end

function Rush:said()
  local file = io.open(self.out)
  local text = file and file:read "a" or ""
  if file then file:close() end
  return text
end

-- How many answers were right, and a list of what failed, a line each.
function Rush:stop()
  host.kill(self.pid, "TERM")
  wait.until_true(function() return host.wait(self.pid) ~= "running" end, 15, "a rush to end")
  local text = self:said()
  os.remove(self.out)
  os.remove(self.folder .. "/err")
  os.remove(self.folder)
  local failures = {}
  for line in text:gmatch "failure ([^\n]+)" do failures[#failures + 1] = line end
  local done, failed = text:match "done (%d+) failed (%d+)"
  assert(done, "a rush said nothing of its end:\n" .. text)
  assert(tonumber(failed) == #failures or #failures == 1000)
  return tonumber(done), failures, tonumber(failed)
end

return M
